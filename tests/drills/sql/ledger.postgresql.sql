-- name: add :one
-- Write one entry; the answer shows that it came from this run of the statement.
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: add_once :one
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: add_together :one
-- coalesce: on
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: add_together_quietly :exec
-- coalesce: on
INSERT INTO ledger (id, caller) VALUES (:id, :caller);

-- name: add_together_once :one
-- coalesce: on
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller) RETURNING id, caller;

-- name: add_together_quietly_once :exec
-- coalesce: on
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller);
