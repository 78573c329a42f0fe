-- depends: 0001.create-users

-- The people who buy. Most have an account, guests have none.

CREATE TABLE customers (
    id              BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id         BIGINT,
    email           VARCHAR(320) NOT NULL,
    full_name       VARCHAR(200) NOT NULL,
    tier            VARCHAR(20)  NOT NULL DEFAULT 'standard',
    address         JSON,
    created_at      DATETIME(6)  NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    full_name_lower VARCHAR(200) GENERATED ALWAYS AS (lower(full_name)) VIRTUAL,
    CONSTRAINT customers_user_id_key UNIQUE (user_id),
    CONSTRAINT customers_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT customers_email_key UNIQUE (email),
    CONSTRAINT customers_tier_check CHECK (tier IN ('standard', 'silver', 'gold')),
    CONSTRAINT customers_address_check CHECK (json_type(address) = 'OBJECT'),
    -- For customers.search: names by their beginning.
    KEY customers_full_name_idx (full_name_lower)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
