-- name: add :affected
-- Write one entry; the answer tells no more than that.
INSERT INTO ledger (id, caller) VALUES (:id, :caller);

-- name: add_once :affected
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller);

-- name: add_together_quietly :exec
-- coalesce: on
INSERT INTO ledger (id, caller) VALUES (:id, :caller);

-- name: add_together_quietly_once :exec
-- coalesce: on
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller);
