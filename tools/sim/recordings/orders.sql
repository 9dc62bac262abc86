-- SPDX-License-Identifier: Apache-2.0
-- pgbench: what customers of the shop do.
\set who random(1, 5000)
\set what random(2, 2000)
\set aborted random(1, 10)
SELECT name, email FROM customers WHERE id = :who;
SELECT p.name, p.price FROM products AS p JOIN categories AS c ON c.id = p.category_id WHERE c.id = 1 + :what % 40 ORDER BY p.price LIMIT 10;
SELECT place_order(:who, :what);
SELECT order_total(id) FROM orders WHERE customer_id = :who;
\if :aborted = 1
BEGIN;
UPDATE customers SET name = name || '!' WHERE id = :who;
ROLLBACK;
SET work_mem = '64kB';
SELECT count(*) FROM (SELECT * FROM reviews ORDER BY body, id OFFSET 1) AS sorted;
RESET work_mem;
INSERT INTO product_embeddings VALUES (:what, row(:who)::vector) ON CONFLICT DO NOTHING;
SELECT product_id FROM product_embeddings ORDER BY at <-> row(1)::vector LIMIT 3;
DELETE FROM cart_items WHERE product_id = :what;
\endif
