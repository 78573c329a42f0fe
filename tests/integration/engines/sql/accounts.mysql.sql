-- name: by_ids :many
SELECT id, owner FROM accounts WHERE id IN (:ids) ORDER BY id;

-- name: not_ids :many
SELECT id, owner FROM accounts WHERE id NOT IN (:ids) ORDER BY id;

-- name: with_notes :many
SELECT a.id, a.owner, n.id AS "note.id", n.text AS "note.text"
FROM accounts AS a LEFT JOIN notes AS n ON n.account_id = a.id
ORDER BY a.id, n.id;

-- name: sleep :exec
-- access: read
SELECT sleep(:seconds);
