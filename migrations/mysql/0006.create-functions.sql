-- depends: 0004.create-orders 0005.create-events

-- Writes that answer with rows. MySQL has no RETURNING and no WITH that writes; a function that
-- writes and hands its rows out as JSON is one statement all the same: one round trip, and all
-- of it or nothing. sql/*.mysql.sql turn the JSON back into columns by JSON_TABLE.
--
-- A server that writes a binary log makes such functions only with
-- log_bin_trust_function_creators = 1 (a parameter of the DB cluster parameter group on Aurora,
-- where the log is off unless asked for).

CREATE FUNCTION users_add(new_email VARCHAR(320), new_full_name VARCHAR(200))
RETURNS JSON MODIFIES SQL DATA
BEGIN
    INSERT INTO users (email, full_name) VALUES (new_email, new_full_name);
    RETURN (
        SELECT json_object('id', id, 'email', email, 'full_name', full_name,
                           'login_count', login_count, 'last_login_at', last_login_at)
        FROM users
        WHERE id = last_insert_id()
    );
END;

CREATE FUNCTION users_rename(the_id BIGINT, the_version INT, new_full_name VARCHAR(200))
RETURNS JSON MODIFIES SQL DATA
BEGIN
    UPDATE users
    SET full_name = new_full_name, version = version + 1
    WHERE id = the_id AND version = the_version;
    IF row_count() = 0 THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT json_object('id', id, 'email', email, 'full_name', full_name,
                           'login_count', login_count, 'last_login_at', last_login_at,
                           'version', version)
        FROM users
        WHERE id = the_id
    );
END;

CREATE FUNCTION customers_add(
    the_user_id BIGINT, new_email VARCHAR(320), new_full_name VARCHAR(200), new_address JSON
)
RETURNS JSON MODIFIES SQL DATA
BEGIN
    INSERT INTO customers (user_id, email, full_name, address)
    VALUES (the_user_id, new_email, new_full_name, new_address);
    RETURN (
        SELECT json_object('id', id, 'user_id', user_id, 'email', email,
                           'full_name', full_name, 'tier', tier,
                           'address', json_extract(address, '$'), 'created_at', created_at)
        FROM customers
        WHERE id = last_insert_id()
    );
END;

CREATE FUNCTION products_reserve(the_id BIGINT, the_quantity INT)
RETURNS JSON MODIFIES SQL DATA
BEGIN
    UPDATE products
    SET stock = stock - the_quantity, version = version + 1
    WHERE id = the_id AND stock >= the_quantity;
    IF row_count() = 0 THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT json_object('id', id, 'price', price, 'stock', stock)
        FROM products
        WHERE id = the_id
    );
END;

-- Locks first and changes then, so that what it says was reserved is what it reserved.
CREATE FUNCTION products_reserve_many(the_ids JSON, the_quantities JSON)
RETURNS JSON MODIFIES SQL DATA
BEGIN
    DECLARE reserved JSON;
    SELECT json_arrayagg(json_object('id', enough.id, 'quantity', enough.quantity,
                                     'price', enough.price, 'stock', enough.rest))
    INTO reserved
    FROM (
        SELECT p.id, wanted.quantity, p.price, p.stock - wanted.quantity AS rest
        FROM json_table(the_ids, '$[*]'
                 COLUMNS (n FOR ORDINALITY, id BIGINT PATH '$')) AS chosen
        JOIN json_table(the_quantities, '$[*]'
                 COLUMNS (n FOR ORDINALITY, quantity INT PATH '$')) AS wanted ON wanted.n = chosen.n
        JOIN (
            SELECT id, price, stock
            FROM products
            WHERE id IN (SELECT id FROM json_table(the_ids, '$[*]'
                             COLUMNS (id BIGINT PATH '$')) AS wanted_ids)
            ORDER BY id
            FOR UPDATE
        ) AS p ON p.id = chosen.id AND p.stock >= wanted.quantity
    ) AS enough;
    UPDATE products AS p
    JOIN json_table(reserved, '$[*]'
             COLUMNS (id BIGINT PATH '$.id', quantity INT PATH '$.quantity')) AS r ON r.id = p.id
    SET p.stock = p.stock - r.quantity, p.version = p.version + 1;
    RETURN reserved;
END;

CREATE FUNCTION products_change_price(the_id BIGINT, the_version INT, new_price DECIMAL(12, 2))
RETURNS JSON MODIFIES SQL DATA
BEGIN
    UPDATE products
    SET price = new_price, version = version + 1
    WHERE id = the_id AND version = the_version;
    IF row_count() = 0 THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT json_object('id', id, 'sku', sku, 'name', name, 'category', category,
                           'price', price, 'stock', stock,
                           'attributes', json_extract(attributes, '$'), 'version', version)
        FROM products
        WHERE id = the_id
    );
END;

CREATE FUNCTION orders_row(the_id BIGINT)
RETURNS JSON READS SQL DATA
RETURN (
    SELECT json_object('id', id, 'customer_id', customer_id, 'status', status,
                       'total_amount', total_amount, 'created_at', created_at)
    FROM orders
    WHERE id = the_id
);

CREATE FUNCTION orders_add(the_customer_id BIGINT, the_total_amount DECIMAL(12, 2))
RETURNS JSON MODIFIES SQL DATA
BEGIN
    INSERT INTO orders (customer_id, status, total_amount)
    VALUES (the_customer_id, 'pending', the_total_amount);
    RETURN orders_row(last_insert_id());
END;

CREATE FUNCTION orders_place_single(
    the_customer_id BIGINT, the_product_id BIGINT, the_quantity INT
)
RETURNS JSON MODIFIES SQL DATA
BEGIN
    DECLARE placed BIGINT;
    UPDATE products
    SET stock = stock - the_quantity, version = version + 1
    WHERE id = the_product_id AND stock >= the_quantity;
    IF row_count() = 0 THEN
        RETURN NULL;
    END IF;
    INSERT INTO orders (customer_id, status, total_amount)
    SELECT the_customer_id, 'pending', price * the_quantity FROM products WHERE id = the_product_id;
    SET placed = last_insert_id();
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
    SELECT placed, id, the_quantity, price FROM products WHERE id = the_product_id;
    RETURN orders_row(placed);
END;

CREATE FUNCTION orders_ship_next(how_many INT)
RETURNS JSON MODIFIES SQL DATA
BEGIN
    DECLARE shipped JSON;
    SELECT json_arrayagg(json_object('id', next.id, 'customer_id', next.customer_id,
                                     'status', 'shipped', 'total_amount', next.total_amount,
                                     'created_at', next.created_at))
    INTO shipped
    FROM (
        SELECT id, customer_id, total_amount, created_at
        FROM orders
        WHERE status = 'paid'
        ORDER BY created_at, id
        LIMIT how_many
        FOR UPDATE SKIP LOCKED
    ) AS next;
    UPDATE orders AS o
    JOIN json_table(shipped, '$[*]' COLUMNS (id BIGINT PATH '$.id')) AS next ON next.id = o.id
    SET o.status = 'shipped';
    RETURN shipped;
END;

CREATE FUNCTION orders_cancel(the_id BIGINT, the_reason VARCHAR(1000))
RETURNS JSON MODIFIES SQL DATA
BEGIN
    UPDATE orders
    SET status = 'cancelled'
    WHERE id = the_id AND status IN ('pending', 'paid');
    IF row_count() = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE products AS p
    JOIN order_items AS i ON i.product_id = p.id
    SET p.stock = p.stock + i.quantity, p.version = p.version + 1
    WHERE i.order_id = the_id;
    INSERT INTO events (kind, subject_id, payload)
    VALUES ('order.cancelled', the_id, json_object('reason', the_reason));
    RETURN orders_row(the_id);
END;
