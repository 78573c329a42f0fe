-- Accounts: the people who sign in.
--
-- How to read these files. A file is a namespace (this one is db.sql.users) and a block is a
-- statement: a header with its name and what it returns, comments that document it or say how
-- it runs (returns:, role:, timeout:), and the SQL exactly as it is prepared on the server.
-- :name is a parameter, and becomes a keyword argument:
--
--     user = await db.sql.users.get_by_email(email="ada@example.com")

-- name: get :one
-- The user with this id. One row is promised: none at all raises RowNotFound.
-- returns: examples.shop.models.User
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id = :id;

-- name: get_on_reader :one
-- The same from a reader: for pages that may be a moment old, and are asked for often.
-- returns: examples.shop.models.User
-- role: reader
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id = :id;

-- name: get_by_email :maybe
-- The user with this e-mail, whatever its case; None if there is none.
-- returns: examples.shop.models.User
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE lower(email) = lower(:email);

-- name: get_by_ids :many
-- The users with these ids, in the order of the ids. A list is one parameter.
-- returns: examples.shop.models.User
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id = ANY(:ids)
ORDER BY id;

-- name: count :scalar
-- How many users there are: one row, one column, handed out as the value itself.
SELECT count(*) FROM users;

-- name: add :one
-- A new user. RETURNING makes a write answer with rows, which fill a model like any others.
-- returns: examples.shop.models.User
INSERT INTO users (email, full_name)
VALUES (:email, :full_name)
RETURNING id, email, full_name, login_count, last_login_at;

-- name: touch :affected
-- The user has just signed in. The result is the number of rows: 0 means no such user.
UPDATE users
SET login_count = login_count + 1,
    last_login_at = current_timestamp(6)
WHERE id = :id;

-- name: get_for_update :one
-- The user with its version, to be handed back to users.rename.
-- returns: examples.shop.models.VersionedUser
SELECT id, email, full_name, login_count, last_login_at, version
FROM users
WHERE id = :id;

-- name: rename :maybe
-- A new name, unless somebody changed the user since this version was read (optimistic
-- locking): then no row matches, and the result is None.
-- returns: examples.shop.models.VersionedUser
UPDATE users
SET full_name = :full_name,
    version = version + 1
WHERE id = :id
  AND version = :version
RETURNING id, email, full_name, login_count, last_login_at, version;

-- name: remove :affected
-- Deletes the account. Its customer, with all orders, stays as a guest.
DELETE FROM users
WHERE id = :id;
