-- SPDX-License-Identifier: Apache-2.0
-- The database "billing" of the recordings.
CREATE TABLE accounts (id int PRIMARY KEY, name text);
CREATE TABLE invoices (id bigserial PRIMARY KEY, account_id int, total numeric, paid bool DEFAULT false);
CREATE INDEX ON invoices (account_id);
INSERT INTO accounts SELECT i, 'Account ' || i FROM generate_series(1, 500) AS i;
