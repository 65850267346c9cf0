-- Views over a storage root's tables for DuckDB (1.1 or newer):
--   SET VARIABLE tables = 'runs/tables';
--   .read docs/views.sql
CREATE OR REPLACE VIEW trials AS FROM read_parquet(getvariable('tables') || '/trials/*.parquet');
CREATE OR REPLACE VIEW evaluations AS FROM read_parquet(getvariable('tables') || '/evaluations/*.parquet');
CREATE OR REPLACE VIEW modules AS FROM read_parquet(getvariable('tables') || '/modules/*.parquet');
CREATE OR REPLACE VIEW jobs AS FROM read_parquet(getvariable('tables') || '/jobs/*.parquet');

-- A row a trial and accuracy: trial_id, metric (finetuned_pgd_20), value.
CREATE OR REPLACE VIEW metrics AS
UNPIVOT (
    SELECT trial_id, COLUMNS('^(dense|pruned|finetuned)_')
    FROM (SELECT * EXCLUDE (dense_network, pruned_network, finetuned_network) FROM trials)
)
ON * EXCLUDE (trial_id) INTO NAME metric VALUE value;

-- A row a trial, attack and test image, of the networks after fine-tuning: whether it was right.
CREATE OR REPLACE VIEW outcomes AS
SELECT trial_id, attack, image, get_bit(outcomes::BIT, image::INTEGER) = 1 AS correct
FROM trials
JOIN evaluations ON network = finetuned_network, LATERAL (SELECT unnest(range(count)) AS image)
