-- What is measured for many callers at once, beside the same work call by call.

-- name: read :one
-- The statement of the simple read; calls that wait at the same moment travel together.
-- coalesce: on
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id = :id;

-- name: alone_by_email :one
-- By a text as it is stored, which the schemas of both engines have an index for.
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE email = :email;

-- name: read_by_email :one
-- The same; its calls travel together.
-- coalesce: on
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE email = :email;

-- name: read_on_reader :one
-- The same on the readers.
-- role: reader
-- coalesce: on
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id = :id;

-- name: insert :exec
-- The statement of the simple write; calls that wait at the same moment are one transaction.
-- coalesce: on
INSERT INTO events (kind, subject_id, payload)
VALUES (:kind, :subject_id, :payload);
