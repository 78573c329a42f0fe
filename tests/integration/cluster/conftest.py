"""Connections to single instances, and a database that has the functions of another service."""

from __future__ import annotations

import pytest

from aurora_sql.drivers import ConnectOptions, connect
from aurora_sql.rows import Row
from aurora_sql.types import Engine


@pytest.fixture
async def opened():
    """Open connections to instances; they are closed at the end of the test."""
    connections = []

    async def open_one(cluster, instance, *, database=None, user=None, row_base=Row):
        async def password():
            return cluster.password

        options = ConnectOptions(
            host=instance.host,
            port=instance.port,
            database=database or cluster.database,
            user=user or cluster.username,
            password=password,
            connect_timeout=10,
        )
        connections.append(await connect(Engine.POSTGRESQL, options, row_base=row_base))
        return connections[-1]

    yield open_one
    for connection in connections:
        connection.abort()


@pytest.fixture
async def plain(aurora_cluster, aurora_database, opened):
    """Opens connections to a database without Aurora's functions."""
    writer = await opened(aurora_cluster, aurora_cluster.instances[0], database=aurora_database)
    await writer.execute(
        "DROP FUNCTION pg_catalog.aurora_replica_status();"
        "DROP FUNCTION pg_catalog.aurora_db_instance_identifier();"
        "DROP FUNCTION pg_catalog.aurora_version();"
    )
    await aurora_cluster.wait_replayed()

    async def open_one(instance, **options):
        return await opened(aurora_cluster, instance, database=aurora_database, **options)

    return open_one


_RDS_TOOLS = """
CREATE SCHEMA rds_tools;
CREATE TABLE rds_tools.source (id text);
INSERT INTO rds_tools.source VALUES ('db-{writer}');
CREATE FUNCTION rds_tools.dbi_resource_id() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT 'db-' || upper(current_setting('cluster_name')) $$;
CREATE FUNCTION rds_tools.multi_az_db_cluster_source_dbi_resource_id() RETURNS text
    LANGUAGE sql STABLE AS $$ SELECT id FROM rds_tools.source $$;
CREATE FUNCTION rds_tools.show_topology(caller text DEFAULT NULL)
    RETURNS TABLE (id text, endpoint text, port int) LANGUAGE sql STABLE
    AS $$ SELECT 'db-' || upper(name), name || '.c9akciq32.eu-west-1.rds.amazonaws.com', 5432
          FROM unnest(string_to_array('{names}', ',')) AS n (name) $$;
GRANT USAGE ON SCHEMA rds_tools TO PUBLIC;
GRANT SELECT ON rds_tools.source TO PUBLIC;
"""


@pytest.fixture
async def multi_az(aurora_cluster, plain):
    """Runs SQL on the writer of a database with the functions of RDS Multi-AZ clusters."""
    writer = await plain(aurora_cluster.instances[0])

    async def change(sql):
        await writer.execute(sql)
        await aurora_cluster.wait_replayed()

    names = [one.id for one in aurora_cluster.instances]
    await change(_RDS_TOOLS.format(writer=names[0].upper(), names=",".join(names)))
    return change
