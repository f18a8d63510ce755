-- History of moved blocks is written in time linear in their number.
-- A trigger's plan is made once a session, for as many rows as its first statement moved. That is often none or one (a
-- worker first closes spent blocks), and then it compares every new row with every old one ever after: 112 ms for a claim of
-- 100 blocks, instead of 3. Without nested loops it is a hash join, whatever the first statement was.
-- CREATE OR REPLACE FUNCTION drops this setting: a migration that replaces the function sets it again.

ALTER FUNCTION blocks_moved() SET enable_nestloop = off;
