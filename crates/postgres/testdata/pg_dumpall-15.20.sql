--
-- PostgreSQL database cluster dump
--

\restrict rxRod51SwuI8I5vH20QZWmBwGwRqXYcuHiqnBQjEPXqqI0tk6U9kQTcrvPcDBYr

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;

--
-- User Configurations
--








\unrestrict rxRod51SwuI8I5vH20QZWmBwGwRqXYcuHiqnBQjEPXqqI0tk6U9kQTcrvPcDBYr

--
-- Databases
--

--
-- Database "template1" dump
--

\connect template1

--
-- PostgreSQL database dump
--

\restrict zjK5wp6nHfK6yiE9NLn0g7azQfvrpieZyHyUjCOkWRPumFiz1xw83D0HOzbcG5R

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict zjK5wp6nHfK6yiE9NLn0g7azQfvrpieZyHyUjCOkWRPumFiz1xw83D0HOzbcG5R

--
-- Database "odd name" dump
--

--
-- PostgreSQL database dump
--

\restrict Mfy7Fsd6DwFliEQ4fB5CWD6MWZ5enA2cEjGMDVaHPdB2RbFnW2gNg3ojvTbffhV

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: odd name; Type: DATABASE; Schema: -; Owner: postgres
--

CREATE DATABASE "odd name" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';


ALTER DATABASE "odd name" OWNER TO postgres;

\unrestrict Mfy7Fsd6DwFliEQ4fB5CWD6MWZ5enA2cEjGMDVaHPdB2RbFnW2gNg3ojvTbffhV
\encoding SQL_ASCII
\connect -reuse-previous=on "dbname='odd name'"
\restrict Mfy7Fsd6DwFliEQ4fB5CWD6MWZ5enA2cEjGMDVaHPdB2RbFnW2gNg3ojvTbffhV

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict Mfy7Fsd6DwFliEQ4fB5CWD6MWZ5enA2cEjGMDVaHPdB2RbFnW2gNg3ojvTbffhV

--
-- Database "postgres" dump
--

\connect postgres

--
-- PostgreSQL database dump
--

\restrict jwbd3k6TYIMeaxpVZqz5MJy8asFwQFspBo6reYEvWBZ2aifear6kP0XPtfyFVj0

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: t; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.t (
    a integer
);


ALTER TABLE public.t OWNER TO postgres;

--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.t (a) FROM stdin;
\.


--
-- PostgreSQL database dump complete
--

\unrestrict jwbd3k6TYIMeaxpVZqz5MJy8asFwQFspBo6reYEvWBZ2aifear6kP0XPtfyFVj0

--
-- PostgreSQL database cluster dump complete
--

