-- What happened, in the order in which it happened. Only ever appended to: no foreign key,
-- because an event outlives what it speaks of.

CREATE TABLE events (
    id          BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind        VARCHAR(64) NOT NULL,
    subject_id  BIGINT,
    payload     JSON        NOT NULL DEFAULT (json_object()),
    recorded_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    CONSTRAINT events_kind_check CHECK (kind <> ''),
    -- The history of one subject: events.latest.
    KEY events_subject_id_idx (subject_id, id DESC)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
