-- What reads differently on MySQL.
--
-- MySQL has no RETURNING. A function of the migrations writes instead, hands out its rows as
-- JSON, and JSON_TABLE makes columns of them: one statement, one round trip, all or nothing.
-- The function stands in a table of its own, which LIMIT keeps from being merged: MariaDB reads
-- what JSON_TABLE is given again where rows are sorted, and would write twice. EXPLAIN runs such a
-- statement there, as that of any derived table.

-- name: get_by_email :maybe
-- The user with this e-mail, whatever its case; None if there is none.
-- returns: examples.shop.models.User
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE email_lower = lower(:email);

-- name: get_by_ids :many
-- The users with these ids, in the order of the ids. A list is one parameter.
-- returns: examples.shop.models.User
SELECT id, email, full_name, login_count, last_login_at
FROM users
WHERE id IN (:ids)
ORDER BY id;

-- name: add :one
-- A new user. The function users_add of the migrations stands in for RETURNING.
-- returns: examples.shop.models.User
-- access: write
-- session: clean
-- column: id not null
-- column: email not null
-- column: full_name not null
-- column: login_count not null
SELECT id, email, full_name, login_count, last_login_at
FROM (SELECT users_add(:email, :full_name) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id            BIGINT       PATH '$.id',
    email         VARCHAR(320) PATH '$.email',
    full_name     VARCHAR(200) PATH '$.full_name',
    login_count   INT          PATH '$.login_count',
    last_login_at DATETIME(6)  PATH '$.last_login_at'
)) AS added;

-- name: rename :maybe
-- A new name, unless somebody changed the user since this version was read (optimistic
-- locking): then no row matches, and the result is None.
-- returns: examples.shop.models.VersionedUser
-- access: write
-- session: clean
-- column: id not null
-- column: email not null
-- column: full_name not null
-- column: login_count not null
-- column: version not null
SELECT id, email, full_name, login_count, last_login_at, version
FROM (SELECT users_rename(:id, :version, :full_name) AS document LIMIT 1) AS done
CROSS JOIN json_table(done.document, '$' COLUMNS (
    id            BIGINT       PATH '$.id',
    email         VARCHAR(320) PATH '$.email',
    full_name     VARCHAR(200) PATH '$.full_name',
    login_count   INT          PATH '$.login_count',
    last_login_at DATETIME(6)  PATH '$.last_login_at',
    version       INT          PATH '$.version'
)) AS renamed;
