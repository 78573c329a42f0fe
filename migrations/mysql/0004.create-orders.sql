-- depends: 0002.create-customers 0003.create-products

-- Orders and what is in them.

CREATE TABLE orders (
    id           BIGINT         NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id  BIGINT         NOT NULL,
    status       VARCHAR(20)    NOT NULL DEFAULT 'pending',
    total_amount DECIMAL(12, 2) NOT NULL DEFAULT 0,
    created_at   DATETIME(6)    NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES customers (id),
    CONSTRAINT orders_status_check
        CHECK (status IN ('pending', 'paid', 'shipped', 'delivered', 'cancelled', 'returned')),
    CONSTRAINT orders_total_amount_check CHECK (total_amount >= 0),
    -- A customer's orders, newest first: orders.search, customers.order_history, and the foreign key.
    KEY orders_customer_id_created_at_idx (customer_id, created_at DESC, id DESC),
    -- All orders of a period: orders.export and the reports.
    KEY orders_created_at_idx (created_at, id),
    -- What is still to be done, in the order in which it is: orders.ship_next locks no other row.
    KEY orders_open_idx (status, created_at, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Each product stands in an order once, with its quantity and the price of that day.
CREATE TABLE order_items (
    order_id   BIGINT         NOT NULL,
    product_id BIGINT         NOT NULL,
    quantity   INT            NOT NULL,
    unit_price DECIMAL(12, 2) NOT NULL,
    PRIMARY KEY (order_id, product_id),
    CONSTRAINT order_items_order_id_fkey
        FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
    CONSTRAINT order_items_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT order_items_quantity_check CHECK (quantity > 0),
    CONSTRAINT order_items_unit_price_check CHECK (unit_price >= 0),
    -- Who bought this product, and the foreign key.
    KEY order_items_product_id_idx (product_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
