-- What Aurora MySQL has in information_schema and in the variable aurora_server_id, which a stock
-- server cannot be given: a schema of its own. The status comes from a file beside all instances,
-- as Aurora's comes from its storage, so that a reader needs no write to know it.
CREATE DATABASE IF NOT EXISTS aurora_sql_local;
DROP FUNCTION IF EXISTS aurora_sql_local.aurora_server_id;
CREATE DEFINER = 'aurora_local'@'localhost' FUNCTION aurora_sql_local.aurora_server_id() RETURNS VARCHAR(100) CHARSET utf8mb4 NO SQL RETURN @@global.report_host;
DROP FUNCTION IF EXISTS aurora_sql_local.status_file;
CREATE DEFINER = 'aurora_local'@'localhost' FUNCTION aurora_sql_local.status_file() RETURNS LONGTEXT CHARSET utf8mb4 READS SQL DATA SQL SECURITY DEFINER RETURN COALESCE(LOAD_FILE(CONCAT(@@global.secure_file_priv, '/aurora_status.json')), '[]');
DROP VIEW IF EXISTS aurora_sql_local.replica_host_status;
CREATE DEFINER = 'aurora_local'@'localhost' VIEW aurora_sql_local.replica_host_status AS SELECT SERVER_ID, SESSION_ID, CPU, REPLICA_LAG_IN_MILLISECONDS, CAST(LAST_UPDATE AS DATETIME(6)) AS LAST_UPDATE_TIMESTAMP FROM JSON_TABLE(aurora_sql_local.status_file(), '$[*]' COLUMNS (SERVER_ID VARCHAR(100) PATH '$.server_id', SESSION_ID VARCHAR(100) PATH '$.session_id', CPU DOUBLE PATH '$.cpu', REPLICA_LAG_IN_MILLISECONDS DOUBLE PATH '$.replica_lag_in_msec', LAST_UPDATE VARCHAR(40) PATH '$.reported_at')) AS s;
