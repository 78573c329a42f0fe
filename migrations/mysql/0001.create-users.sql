-- The people who sign in.
--
-- On MySQL 8.0.16 and later, and MariaDB 10.6 and later. utf8mb4_bin compares text as PostgreSQL
-- does, by what was written. DATETIME(6) has PostgreSQL's microseconds and no end in 2038; it
-- holds UTC, which is the time zone of all sessions of the library.

CREATE TABLE users (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email         VARCHAR(320) NOT NULL,
    full_name     VARCHAR(200) NOT NULL,
    login_count   INT          NOT NULL DEFAULT 0,
    last_login_at DATETIME(6),
    version       INT          NOT NULL DEFAULT 1,
    created_at    DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    -- MariaDB has no index on an expression; a generated column is one on both.
    email_lower   VARCHAR(320) GENERATED ALWAYS AS (lower(email)) VIRTUAL,
    CONSTRAINT users_email_key UNIQUE (email),
    -- One account per address, however it is spelt. Also the index of users.get_by_email.
    CONSTRAINT users_email_lower_key UNIQUE (email_lower),
    CONSTRAINT users_email_check CHECK (email LIKE '_%@_%'),
    CONSTRAINT users_login_count_check CHECK (login_count >= 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
