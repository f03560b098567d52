-- When an operator last resumed the provider, or its credentials were last changed: a receipt about what was called before
-- does not halt it.
ALTER TABLE providers ADD COLUMN trusted_since INTEGER;
