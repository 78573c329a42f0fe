-- What is sold, what it costs now and how many lie in the warehouse.

CREATE TABLE products (
    id         BIGINT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    sku        VARCHAR(64)    NOT NULL,
    name       VARCHAR(200)   NOT NULL,
    category   VARCHAR(64)    NOT NULL,
    price      DECIMAL(12, 2) NOT NULL,
    stock      INT            NOT NULL DEFAULT 0,
    attributes JSON           NOT NULL DEFAULT (json_object()),
    version    INT            NOT NULL DEFAULT 1,
    created_at DATETIME(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    CONSTRAINT products_sku_key UNIQUE (sku),
    CONSTRAINT products_price_check CHECK (price > 0),
    -- The last line of defence against selling what is not there.
    CONSTRAINT products_stock_check CHECK (stock >= 0),
    CONSTRAINT products_attributes_check CHECK (json_type(attributes) = 'OBJECT'),
    -- For products.search, by category and price. No index serves any attribute, as GIN does.
    KEY products_category_price_idx (category, price, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
