-- name: add :affected
-- Write one entry; the answer tells no more than that.
INSERT INTO ledger (id, caller) VALUES (:id, :caller);

-- name: add_once :affected
-- retry: exactly_once
INSERT INTO ledger (id, caller) VALUES (:id, :caller);
