CREATE TABLE qcore_barrier (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item)
);
CREATE TABLE qcore_barrier_member (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  member INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (queue, item, member)
);
CREATE TABLE qcore_dead_letter (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  queue VARCHAR(80) NOT NULL,
  priority INTEGER DEFAULT '0' NOT NULL,
  died DOUBLE NOT NULL,
  failures INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  reason TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX qcore_dead_letter_queue ON qcore_dead_letter (queue, seq);
CREATE TABLE qcore_ended (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  queue VARCHAR(80) NOT NULL,
  bucket BLOB NOT NULL,
  ended DOUBLE NOT NULL,
  number INTEGER NOT NULL,
  high BLOB NOT NULL,
  ids BLOB NOT NULL
);
CREATE INDEX qcore_ended_bucket ON qcore_ended (queue, bucket);
CREATE INDEX qcore_ended_high ON qcore_ended (queue, high);
CREATE TABLE qcore_flag (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  expires DOUBLE NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (queue, item)
);
CREATE TABLE qcore_message (
  seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  queue VARCHAR(80) NOT NULL,
  priority INTEGER DEFAULT '0' NOT NULL,
  due DOUBLE NOT NULL,
  token BIGINT,
  deliveries INTEGER DEFAULT '0' NOT NULL,
  failures INTEGER DEFAULT '0' NOT NULL,
  crashes INTEGER DEFAULT '0' NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX qcore_message_due ON qcore_message (queue, priority, due, seq);
CREATE TABLE qcore_permit (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  holder BLOB NOT NULL,
  number BIGINT NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item, holder)
);
CREATE TABLE qcore_rate (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  due DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item)
);
CREATE TABLE qcore_rate_slot (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  holder BLOB NOT NULL,
  due DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item, holder)
);
CREATE TABLE qcore_result (
  queue VARCHAR(80) NOT NULL,
  id BLOB NOT NULL,
  state INTEGER NOT NULL,
  finished DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  name VARCHAR(512) NOT NULL,
  grp VARCHAR(512),
  label VARCHAR(512),
  body BLOB NOT NULL,
  PRIMARY KEY (queue, id)
);
CREATE INDEX qcore_result_expires ON qcore_result (queue, expires) WHERE expires > 0;
CREATE INDEX qcore_result_group ON qcore_result (queue, grp) WHERE grp IS NOT NULL;
CREATE INDEX qcore_result_state ON qcore_result (queue, state, finished, id);
CREATE TABLE qcore_schedule (
  queue VARCHAR(80) NOT NULL,
  name VARCHAR(512) NOT NULL,
  next_run DOUBLE NOT NULL,
  active BOOLEAN NOT NULL,
  claimed_until DOUBLE DEFAULT '0' NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (queue, name)
);
CREATE TABLE qcore_schema (
  version INTEGER NOT NULL,
  name VARCHAR(32) NOT NULL,
  PRIMARY KEY (version)
);
CREATE TABLE qcore_status (
  queue VARCHAR(80) NOT NULL,
  cluster VARCHAR(512) NOT NULL,
  expires DOUBLE NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (queue, cluster)
);
INSERT INTO qcore_schema (version, name) VALUES (1, '0123456789abcdef0123456789abcdef');
