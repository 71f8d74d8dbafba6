DROP INDEX mention_by_person;
CREATE INDEX mention_by_person ON mention (person, role, resource);
