-- name: count_up :affected
UPDATE counters SET value = value + 1 WHERE id = :id;
