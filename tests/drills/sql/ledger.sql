-- name: add :one
-- Write one entry; the answer shows that it came from this run of the statement.
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: add_once :one
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: count_up :affected
UPDATE counters SET value = value + 1 WHERE id = :id;
