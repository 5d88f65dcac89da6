-- A cluster of the kind that breaks backup tools: names that need quoting everywhere, roles that depend on each other, large objects,
-- bytes that are no text, text that looks like the tools' own syntax. Fill a fresh server with: psql -X -v ON_ERROR_STOP=1 -f FILE
\set QUIET on
SET client_min_messages = error;

-- Roles
CREATE ROLE readers NOLOGIN;
CREATE ROLE "Role with spaces" LOGIN PASSWORD 'secret' CONNECTION LIMIT 3 VALID UNTIL '2099-12-31 00:00:00+00';
CREATE ROLE "it's ""quoted""" NOLOGIN CREATEDB CREATEROLE;
CREATE ROLE "ünïcödé-役割" LOGIN REPLICATION;
CREATE ROLE owner_of_things LOGIN;
GRANT readers TO "Role with spaces" WITH ADMIN OPTION;
GRANT "it's ""quoted""" TO "ünïcödé-役割" GRANTED BY postgres;
ALTER ROLE "Role with spaces" SET search_path TO "$user", public, "odd schema";
ALTER ROLE owner_of_things SET statement_timeout TO '30s';
COMMENT ON ROLE readers IS 'may read; a line
break; a \backslash and a '' quote';

-- Databases, one for each way to get a name wrong
CREATE DATABASE shop OWNER owner_of_things;
CREATE DATABASE "name with spaces";
CREATE DATABASE "it's a ""quoted"" database";
CREATE DATABASE "ünïcödé データベース";
CREATE DATABASE "-rf";
CREATE DATABASE "$HOME;`id`|&%s\n";
CREATE DATABASE "dbname=postgres host=nowhere";
CREATE DATABASE "UPPER.lower-1" CONNECTION LIMIT 5;
CREATE DATABASE german TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
ALTER DATABASE shop SET timezone TO 'Asia/Tokyo';
ALTER ROLE owner_of_things IN DATABASE shop SET work_mem TO '8MB';
GRANT CONNECT ON DATABASE shop TO readers;
REVOKE CONNECT ON DATABASE "-rf" FROM PUBLIC;
COMMENT ON DATABASE "-rf" IS '-- PostgreSQL database cluster dump complete';

\connect shop
\set QUIET on
SET client_min_messages = error;
SELECT setseed(0.42) \g /dev/null
CREATE EXTENSION hstore;
CREATE EXTENSION pgcrypto;
CREATE SCHEMA "odd schema" AUTHORIZATION owner_of_things;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glücklich');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE "odd schema"."Pair Of Things" AS (x integer, "y z" text[]);

CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    mood mood DEFAULT 'sad',
    attributes jsonb NOT NULL DEFAULT '{}',
    document json,
    tags hstore,
    pair "odd schema"."Pair Of Things",
    shout text GENERATED ALWAYS AS (upper(name)) STORED,
    seen tstzrange
);
COMMENT ON COLUMN customers.shout IS 'generated';
INSERT INTO customers (name, mood, attributes, document, tags, pair, seen)
SELECT 'customer ' || n, (ARRAY['sad', 'it''s ok', 'glücklich'])[1 + n % 3]::mood,
    jsonb_build_object('n', n, 'nested', jsonb_build_array(n, NULL, true, 'ß→日本' || n), 'rnd', md5(n::text)),
    json_build_object('z', n, 'a', repeat('x', n % 50)),
    hstore('k' || n, CASE WHEN n % 2 = 0 THEN NULL ELSE '"=>' END),
    ROW(n, ARRAY['a,b', '{c}', NULL, '"'])::"odd schema"."Pair Of Things",
    tstzrange('2020-01-01 00:00+00'::timestamptz + n * interval '1 hour', NULL)
FROM generate_series(1, 20000) AS n;

CREATE TABLE orders (
    id bigserial,
    customer bigint NOT NULL REFERENCES customers,
    amount numeric(12, 2) CHECK (amount >= 0),
    at timestamptz NOT NULL,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE orders_2020 PARTITION OF orders FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
INSERT INTO orders (customer, amount, at)
SELECT 1 + n % 20000, n % 1000 + 0.25, '2020-06-01 00:00+00'::timestamptz + n * interval '7 minutes' FROM generate_series(1, 60000) AS n;
CREATE INDEX orders_by_customer ON orders (customer) INCLUDE (amount);
CREATE UNIQUE INDEX "customers ""odd"" index" ON customers (lower(name)) WHERE id > 10;

-- Bytes: every value, none, a row larger than any buffer, and much that no codec makes smaller
CREATE TABLE documents (id integer PRIMARY KEY, body bytea);
INSERT INTO documents SELECT 0, string_agg(set_byte('\x00', 0, n), '' ORDER BY n) FROM generate_series(0, 255) AS n;
INSERT INTO documents VALUES (1, ''), (2, NULL);
INSERT INTO documents SELECT 3, decode(repeat('00ff', 3000000), 'hex');
INSERT INTO documents SELECT 10 + n, digest(n::text, 'sha512') || digest('b' || n, 'sha512') || digest('c' || n, 'sha512') FROM generate_series(1, 20000) AS n;

-- Text that looks like syntax
CREATE TABLE "odd schema"."Table; DROP TABLE customers; --" ("a b" text, "c""d" text, "ünï" text, "\." text);
INSERT INTO "odd schema"."Table; DROP TABLE customers; --" VALUES
    (E'\\.', E'\\N', NULL, ''),
    (E'tab\tline\nreturn\rback\\slash', E'\x01\x02\x1b[31m', 'нормально', '😀🏴‍☠️'),
    ('-- PostgreSQL database cluster dump complete', '-- PostgreSQL database dump complete', E'\\restrict x', E'\\connect postgres'),
    (repeat('long line ', 200000), 'BACKSTAY1 {"id":', '$$ $body$', E'\u2028');

CREATE TABLE numbers (r real, d double precision, n numeric, m money, b bit varying, i inet, p point, x xml, u uuid, v interval, a integer[][], j jsonb);
INSERT INTO numbers VALUES
    ('NaN', '-Infinity', 'NaN', '-1.23', B'10110', '2001:db8::1/64', '(1e-300,-0)', '<a b="c">&amp;</a>', gen_random_uuid(), '-1 year 3 days 04:05:06.789', '{{1,NULL},{3,4}}', '"\u20ac \\ \""'),
    (1e-38, 1.7976931348623157e308, 1e-1000, '92233720368547758.07', B'', '::', '(0,0)', '', '00000000-0000-0000-0000-000000000000', '0', '{}', 'null');

CREATE TABLE "odd schema".tree (id integer PRIMARY KEY, parent integer REFERENCES "odd schema".tree DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO "odd schema".tree VALUES (1, 2), (2, 1);
COMMIT;
CREATE UNLOGGED TABLE scratch AS SELECT n FROM generate_series(1, 10) AS n;
CREATE TABLE base (a integer);
CREATE TABLE derived (b text) INHERITS (base);
INSERT INTO derived VALUES (1, 'child');

CREATE FUNCTION "odd schema"."do it"(VARIADIC words text[]) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $body$
BEGIN
    -- $$ inside
    RETURN array_to_string(words, E'\n');
END
$body$;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.name := NEW.name; RETURN NEW; END$$;
CREATE TRIGGER "before ""it""" BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touched();
CREATE VIEW "odd schema"."view of ""it""" AS SELECT id, attributes -> 'nested' ->> 3 AS word FROM customers WHERE attributes @> '{"n": 7}';
CREATE MATERIALIZED VIEW totals AS SELECT customer % 10 AS digit, sum(amount) FROM orders GROUP BY 1 ORDER BY 1;
CREATE RULE no_deletes AS ON DELETE TO documents DO INSTEAD NOTHING;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY "only mine" ON customers FOR SELECT TO readers USING (name = current_user);
GRANT SELECT (id, name) ON customers TO readers;
ALTER DEFAULT PRIVILEGES IN SCHEMA "odd schema" GRANT SELECT ON TABLES TO "it's ""quoted""";
CREATE PUBLICATION "all ""of"" it" FOR TABLE customers WHERE (id > 0);
CREATE STATISTICS both_columns (dependencies) ON customer, amount FROM orders;
CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1');
CREATE COLLATION "odd ""C""" (LOCALE = 'C');
SELECT setval('orders_id_seq', 9007199254740993) \g /dev/null

-- Large objects: one empty, one of some pages with an owner and a grant, one larger
SELECT lo_create(424242) \g /dev/null
SELECT lo_from_bytea(424243, decode(repeat('00010203fffefdfc', 2000), 'hex')) \g /dev/null
ALTER LARGE OBJECT 424243 OWNER TO owner_of_things;
GRANT SELECT ON LARGE OBJECT 424243 TO readers;
COMMENT ON LARGE OBJECT 424243 IS 'a ''large'' object';
SELECT lo_from_bytea(424244, string_agg(digest(n::text, 'sha512'), '' ORDER BY n)) FROM generate_series(1, 20000) AS n \g /dev/null

\connect "name with spaces"
\set QUIET on
CREATE TABLE t AS SELECT n, repeat(chr(65 + n % 26), n % 100) AS word FROM generate_series(1, 5000) AS n;

\connect "it's a ""quoted"" database"
\set QUIET on
CREATE TABLE t (x text);
INSERT INTO t VALUES ('here');

\connect "ünïcödé データベース"
\set QUIET on
CREATE TABLE "表" ("列" text);
INSERT INTO "表" VALUES ('値');
