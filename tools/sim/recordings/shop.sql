-- SPDX-License-Identifier: Apache-2.0
-- The database "app" of the recordings: a small shop.
CREATE SCHEMA reporting;
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL UNIQUE, name text, since date);
CREATE TABLE addresses (id int PRIMARY KEY, customer_id int NOT NULL, street text, city text);
CREATE TABLE categories (id int PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE products (id int PRIMARY KEY, category_id int, name text, price numeric, stock int);
CREATE TABLE suppliers (id int PRIMARY KEY, name text);
CREATE TABLE warehouses (id int PRIMARY KEY, city text);
CREATE TABLE stock_moves (id bigserial PRIMARY KEY, product_id int, warehouse_id int, amount int);
CREATE TABLE carts (id int PRIMARY KEY, customer_id int, changed timestamptz DEFAULT now());
CREATE TABLE cart_items (cart_id int, product_id int, amount int, PRIMARY KEY (cart_id, product_id));
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL, placed timestamptz DEFAULT now(), state text DEFAULT 'new');
CREATE TABLE order_items (order_id bigint, product_id int, amount int, price numeric, PRIMARY KEY (order_id, product_id));
CREATE TABLE shipments (id bigserial PRIMARY KEY, order_id bigint, carrier text, sent timestamptz);
CREATE TABLE coupons (code text PRIMARY KEY, percent int);
CREATE TABLE reviews (id bigserial PRIMARY KEY, product_id int, stars int, body text);
CREATE TABLE sessions (token text PRIMARY KEY, customer_id int, expires timestamptz);
CREATE TABLE messages (id bigserial PRIMARY KEY, customer_id int, body text);
CREATE TABLE settings (name text PRIMARY KEY, value text);
CREATE TABLE events_2026_01 (at timestamptz NOT NULL, kind text, detail jsonb);
CREATE TABLE events_2026_02 (LIKE events_2026_01);
CREATE TABLE events (LIKE events_2026_01) PARTITION BY RANGE (at);
ALTER TABLE events ATTACH PARTITION events_2026_01 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
ALTER TABLE events ATTACH PARTITION events_2026_02 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE reporting.daily_sales (day date PRIMARY KEY, orders int, revenue numeric);
CREATE TABLE reporting.top_products (day date, product_id int, sold int, PRIMARY KEY (day, product_id));
CREATE INDEX ON addresses (customer_id);
CREATE INDEX ON products (category_id);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (placed);
CREATE INDEX ON order_items (product_id);
CREATE INDEX ON reviews (product_id);
CREATE INDEX ON events (at);
INSERT INTO customers SELECT i, 'customer' || i || '@example.org', 'Customer ' || i, date '2020-01-01' + i % 2000 FROM generate_series(1, 5000) AS i;
INSERT INTO addresses SELECT i, 1 + i % 5000, i || ' Main Street', 'City ' || i % 100 FROM generate_series(1, 6000) AS i;
INSERT INTO categories SELECT i, 'category ' || i FROM generate_series(1, 40) AS i;
INSERT INTO products SELECT i, 1 + i % 40, 'Product ' || i, i % 500, 1000 FROM generate_series(1, 2000) AS i;
INSERT INTO suppliers SELECT i, 'Supplier ' || i FROM generate_series(1, 30) AS i;
INSERT INTO warehouses SELECT i, 'City ' || i FROM generate_series(1, 4) AS i;
INSERT INTO carts SELECT i, i FROM generate_series(1, 800) AS i;
INSERT INTO cart_items SELECT 1 + i % 800, 1 + i % 1999, 1 FROM generate_series(1, 1500) AS i;
INSERT INTO coupons SELECT 'CODE' || i, 10 FROM generate_series(1, 50) AS i;
INSERT INTO reviews (product_id, stars, body) SELECT 1 + i % 2000, 1 + i % 5, repeat('fine ', 1 + i % 40) FROM generate_series(1, 3000) AS i;
INSERT INTO settings VALUES ('currency', 'EUR'), ('vat', '19');
INSERT INTO events SELECT timestamptz '2026-01-01 00:00+00' + i * interval '9 minutes', 'view', '{}' FROM generate_series(1, 8000) AS i;
INSERT INTO messages (customer_id, body) SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 300) AS i;
CREATE FUNCTION order_total(which bigint) RETURNS numeric LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT coalesce(sum(amount * price), 0) FROM order_items WHERE order_id = which); END';
CREATE FUNCTION place_order(who int, what int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE number bigint;
BEGIN
    INSERT INTO orders (customer_id) VALUES (who) RETURNING id INTO number;
    INSERT INTO order_items SELECT number, p.id, 1, p.price FROM products AS p WHERE p.id = what;
    UPDATE products SET stock = stock - 1 WHERE id = what;
    INSERT INTO stock_moves (product_id, warehouse_id, amount) VALUES (what, 1, -1);
    RETURN number;
END $$;
-- As much of pgvector as its statements need to be recognised.
CREATE TYPE vector AS (x float8);
CREATE FUNCTION apart(a vector, b vector) RETURNS float8 LANGUAGE sql AS 'SELECT abs(a.x - b.x)';
CREATE OPERATOR <-> (LEFTARG = vector, RIGHTARG = vector, FUNCTION = apart);
CREATE TABLE product_embeddings (product_id int PRIMARY KEY, at vector);
-- Publishes nothing and fetches nothing: it is only there to be seen.
CREATE SUBSCRIPTION catalog_feed CONNECTION '' PUBLICATION none WITH (connect = false, slot_name = NONE);
