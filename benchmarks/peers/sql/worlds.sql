-- What the web rows of the comparison with peers ask for.

-- name: get :one
-- One row.
SELECT id, random_number FROM world WHERE id = :id;

-- name: get_together :one
-- The same where many rows are asked for: calls that wait at the same moment travel together.
-- coalesce: on
SELECT id, random_number FROM world WHERE id = :id;

-- name: set_numbers :batch
-- New numbers for several rows, in one transaction.
UPDATE world SET random_number = :number WHERE id = :id;

-- name: fortunes :many
-- All of them.
SELECT id, message FROM fortune;
