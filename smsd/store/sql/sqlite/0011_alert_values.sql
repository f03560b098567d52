-- What was read when an alert was raised, and its bound, so that what is told again is the same. NULL: of an older smsd.
-- ANY: a count stays a whole number, a share stays none.
ALTER TABLE alerts ADD COLUMN value ANY;
ALTER TABLE alerts ADD COLUMN bound ANY;
ALTER TABLE alerts_over ADD COLUMN value ANY;
ALTER TABLE alerts_over ADD COLUMN bound ANY;
