-- name: value :scalar
SELECT value FROM counters WHERE id = :id;

-- name: count_up :scalar
UPDATE counters SET value = value + 1 WHERE id = :id RETURNING value;

-- name: where_am_i :scalar
SELECT aurora_db_instance_identifier();

-- name: on_reader :scalar
-- role: reader
SELECT aurora_db_instance_identifier();

-- name: on_writer :scalar
-- role: writer
SELECT aurora_db_instance_identifier();

-- name: values :many
SELECT id, value, aurora_db_instance_identifier() AS instance FROM counters ORDER BY id;

-- name: value_on_reader :scalar
-- role: reader
SELECT value FROM counters WHERE id = :id;

-- name: value_on_writer :scalar
-- role: writer
SELECT value FROM counters WHERE id = :id;
