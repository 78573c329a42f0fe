-- The journal of the shop: what happened, appended and never changed.

-- name: record :exec
-- Writes one event down. Nothing comes back, not even a number.
INSERT INTO events (kind, subject_id, payload)
VALUES (:kind, :subject_id, :payload);

-- name: record_many :batch
-- The same for a list of events, in one transaction.
INSERT INTO events (kind, subject_id, payload)
VALUES (:kind, :subject_id, :payload);

-- name: latest :many
-- The last events about one order, customer or product, newest first; of one kind, or of all.
-- returns: examples.shop.models.Event
SELECT id, kind, subject_id, payload, recorded_at
FROM events
WHERE subject_id = :subject_id
  AND kind = :kind  -- when :kind
ORDER BY id DESC
LIMIT :limit;
