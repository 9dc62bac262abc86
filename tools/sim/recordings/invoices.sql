-- SPDX-License-Identifier: Apache-2.0
-- pgbench: what the billing department does.
\set account random(1, 500)
INSERT INTO invoices (account_id, total) VALUES (:account, 10 + :account % 90);
SELECT sum(total) FROM invoices WHERE account_id = :account AND NOT paid;
UPDATE invoices SET paid = true WHERE account_id = :account;
