-- name: get :one
-- cache: 5s
-- access: read
SELECT id, name, nextval('ticks') AS tick FROM items WHERE id = :id;

-- name: find :maybe
-- cache: 5s
-- access: read
SELECT found.id, found.name, tick
FROM nextval('ticks') AS tick LEFT JOIN items AS found ON found.id = :id
WHERE found.id IS NOT NULL;

-- name: among :many
-- cache: 5s
-- access: read
SELECT id, nextval('ticks') AS tick FROM items WHERE id = ANY(:ids) ORDER BY id;

-- name: search :many
-- cache: 5s
SELECT id, name FROM items
WHERE true
  AND id > :above       -- when :above
  AND name = :name      -- when :name
ORDER BY id;

-- name: count :scalar
-- cache: 5s
SELECT count(*) FROM items;

-- name: same_json :scalar
-- cache: 5s
-- param: value jsonb
SELECT (:value)::text;

-- name: documents :many
-- cache: 5s
SELECT id, body, tags FROM items ORDER BY id;

-- name: document :one
-- cache: 5s
-- returns: tests.integration.cache.conftest.Document
SELECT id, body, tags FROM items WHERE id = :id;

-- name: as_dataclass :maybe
-- cache: 5s
-- returns: tests.integration.cache.conftest.Plain
SELECT id, tags FROM items WHERE id = :id;

-- name: body :scalar
-- cache: 5s
SELECT body FROM items WHERE id = :id;

-- name: gated :scalar
-- cache: 5s
-- access: read
SELECT nextval('ticks') + :id * 0 FROM (SELECT pg_advisory_xact_lock_shared(4711)) AS gate;

-- name: gated_briefly :scalar
-- cache: 5s
-- timeout: 200ms
-- access: read
SELECT nextval('ticks') FROM (SELECT pg_advisory_xact_lock_shared(4711)) AS gate;

-- name: gated_name :scalar
-- cache: 60s
-- access: read
SELECT name FROM items, (SELECT pg_advisory_xact_lock_shared(4711)) AS gate WHERE id = :id;

-- name: one_of_two :one
-- cache: 5s
SELECT id FROM items WHERE id IN (1, 2);

-- name: together :maybe
-- cache: 5s
-- coalesce: on
SELECT id, name, tags FROM items WHERE id = :id;

-- name: rename :affected
-- invalidates: items.get, items.gated_name
UPDATE items SET name = :name WHERE id = :id;

-- name: rename_all :one
-- invalidates: items.get
UPDATE items SET name = name || :suffix RETURNING id;

-- name: rename_once :affected
-- retry: exactly_once
-- invalidates: items.get
UPDATE items SET name = :name WHERE id = :id;

-- name: rename_many :batch
-- invalidates: items.get
UPDATE items SET name = :name WHERE id = :id;

-- name: rename_each :many
-- invalidates: items.get
UPDATE items SET name = name || :suffix RETURNING id;

-- name: reset :script
-- invalidates: items.get
UPDATE items SET name = 'item ' || id;
UPDATE items SET tags = '{a,b}';

-- name: plain :many
SELECT id, name FROM items
WHERE true
  AND id > :above       -- when :above
ORDER BY id;

-- name: rename_together :affected
-- coalesce: on
-- invalidates: items.get
UPDATE items SET name = :name WHERE id = :id;
