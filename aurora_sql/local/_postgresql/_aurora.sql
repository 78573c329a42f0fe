-- Aurora's own functions, made in pg_catalog of every database by the cluster. They are the same
-- on all instances, as everything that is replicated; what differs by instance comes from its
-- configuration (cluster_name holds its identifier) and from aurora_status.json, which plays the
-- status table in Aurora's shared storage: the cluster rewrites it every second.

CREATE OR REPLACE FUNCTION pg_catalog.aurora_db_instance_identifier() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.current_setting('cluster_name') $$;

CREATE OR REPLACE FUNCTION pg_catalog.aurora_version() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.format('%s.%s.0', v / 10000, v % 10000)
    FROM (SELECT pg_catalog.current_setting('server_version_num')::int) AS s (v)
$$;

-- SECURITY DEFINER: reads a file and pg_stat_replication, which ordinary users may not.
CREATE OR REPLACE FUNCTION pg_catalog.aurora_replica_status()
RETURNS TABLE (
    server_id text,
    session_id text,
    durable_lsn bigint,
    highest_lsn_rcvd bigint,
    current_read_lsn bigint,
    cur_replay_latency_in_usec bigint,
    last_update_timestamp timestamptz,
    replica_lag_in_msec double precision,
    cpu double precision
)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH stored AS (
        SELECT *
        FROM jsonb_to_recordset(
            coalesce(pg_read_file('aurora_status.json', 0, 1048576, true), '[]')::jsonb
        ) AS s (
            server_id text, session_id text, durable_lsn bigint, highest_lsn_rcvd bigint,
            current_read_lsn bigint, cur_replay_latency_in_usec bigint,
            last_update_timestamp timestamptz, replica_lag_in_msec double precision,
            cpu double precision, level_at timestamptz
        )
    ), own AS (
        SELECT
            aurora_db_instance_identifier() AS server_id,
            pg_is_in_recovery() AS reading,
            -- The functions of one role fail in the other; CASE calls only the right one.
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() - '0/0'
                 ELSE pg_current_wal_flush_lsn() - '0/0' END AS received,
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() - '0/0'
                 ELSE pg_current_wal_flush_lsn() - '0/0' END AS position,
            -- While nothing is written the last commit ages, and the next record that arrives
            -- would seem to be as late as that: what is missing was written after the time at
            -- which nothing was.
            CASE WHEN pg_is_in_recovery()
                      AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
                 THEN greatest(0, coalesce(extract(epoch FROM clock_timestamp() - greatest(
                          pg_last_xact_replay_timestamp(),
                          (SELECT level_at FROM stored
                           WHERE server_id = aurora_db_instance_identifier()))), 0))
                 ELSE 0 END AS lag
    )
    SELECT
        s.server_id,
        s.session_id,
        coalesce(o.position, r.flush_lsn - '0/0', s.durable_lsn)::bigint,
        CASE WHEN o.reading IS FALSE THEN NULL
             ELSE coalesce(o.received, r.flush_lsn - '0/0', s.highest_lsn_rcvd) END::bigint,
        coalesce(o.position, r.replay_lsn - '0/0', s.current_read_lsn)::bigint,
        CASE WHEN o.server_id IS NOT NULL THEN o.lag * 1000000
             WHEN r.pid IS NOT NULL THEN coalesce(extract(epoch FROM r.replay_lag), 0) * 1000000
             ELSE s.cur_replay_latency_in_usec END::bigint,
        -- As Aurora does since 13.9: NULL for the instance that is asked.
        CASE WHEN o.server_id IS NULL THEN coalesce(r.reply_time, s.last_update_timestamp) END,
        CASE WHEN o.server_id IS NOT NULL THEN o.lag * 1000
             WHEN r.pid IS NOT NULL THEN coalesce(extract(epoch FROM r.replay_lag), 0) * 1000
             ELSE s.replica_lag_in_msec END::double precision,
        s.cpu
    FROM stored AS s
    LEFT JOIN own AS o ON o.server_id = s.server_id
    LEFT JOIN pg_stat_replication AS r
        ON r.application_name = s.server_id AND r.state = 'streaming'
    ORDER BY s.session_id <> 'MASTER_SESSION_ID', s.server_id
$$;

