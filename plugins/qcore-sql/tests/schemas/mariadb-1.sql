CREATE TABLE IF NOT EXISTS qcore_barrier (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_barrier_member (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  `member` INTEGER NOT NULL,
  body LONGBLOB NOT NULL,
  PRIMARY KEY (queue, item, `member`)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_dead_letter (
  seq BIGINT NOT NULL AUTO_INCREMENT,
  queue VARCHAR(80) NOT NULL,
  priority INTEGER NOT NULL DEFAULT '0',
  died DOUBLE NOT NULL,
  failures INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  reason TEXT NOT NULL,
  body LONGBLOB NOT NULL,
  PRIMARY KEY (seq),
  KEY qcore_dead_letter_queue (queue, seq)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_ended (
  seq BIGINT NOT NULL AUTO_INCREMENT,
  queue VARCHAR(80) NOT NULL,
  bucket VARBINARY(16) NOT NULL,
  ended DOUBLE NOT NULL,
  number INTEGER NOT NULL,
  high VARBINARY(16) NOT NULL,
  ids LONGBLOB NOT NULL,
  PRIMARY KEY (seq),
  KEY qcore_ended_bucket (queue, bucket),
  KEY qcore_ended_high (queue, high)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_flag (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  expires DOUBLE NOT NULL,
  value LONGBLOB NOT NULL,
  PRIMARY KEY (queue, item)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_message (
  seq BIGINT NOT NULL AUTO_INCREMENT,
  queue VARCHAR(80) NOT NULL,
  priority INTEGER NOT NULL DEFAULT '0',
  due DOUBLE NOT NULL,
  token BIGINT,
  deliveries INTEGER NOT NULL DEFAULT '0',
  failures INTEGER NOT NULL DEFAULT '0',
  crashes INTEGER NOT NULL DEFAULT '0',
  body LONGBLOB NOT NULL,
  PRIMARY KEY (seq),
  KEY qcore_message_due (queue, priority, due, seq)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_permit (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  holder VARBINARY(255) NOT NULL,
  number BIGINT NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item, holder)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_rate (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  due DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_rate_slot (
  queue VARCHAR(80) NOT NULL,
  item VARCHAR(255) NOT NULL,
  holder VARBINARY(255) NOT NULL,
  due DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  PRIMARY KEY (queue, item, holder)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_result (
  queue VARCHAR(80) NOT NULL,
  id VARBINARY(16) NOT NULL,
  state INTEGER NOT NULL,
  finished DOUBLE NOT NULL,
  expires DOUBLE NOT NULL,
  name VARCHAR(512) NOT NULL,
  grp VARCHAR(512),
  label VARCHAR(512),
  body LONGBLOB NOT NULL,
  PRIMARY KEY (queue, id),
  KEY qcore_result_expires (queue, expires),
  KEY qcore_result_group (queue, grp),
  KEY qcore_result_state (queue, state, finished, id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_schedule (
  queue VARCHAR(80) NOT NULL,
  name VARCHAR(512) NOT NULL,
  next_run DOUBLE NOT NULL,
  active BOOL NOT NULL,
  claimed_until DOUBLE NOT NULL DEFAULT '0',
  body LONGBLOB NOT NULL,
  PRIMARY KEY (queue, name)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_schema (
  version INTEGER NOT NULL AUTO_INCREMENT,
  name VARCHAR(32) NOT NULL,
  PRIMARY KEY (version)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_status (
  queue VARCHAR(80) NOT NULL,
  cluster VARCHAR(512) NOT NULL,
  expires DOUBLE NOT NULL,
  body LONGBLOB NOT NULL,
  PRIMARY KEY (queue, cluster)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
CREATE TABLE IF NOT EXISTS qcore_lock (
  number INTEGER NOT NULL,
  PRIMARY KEY (number)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
INSERT IGNORE INTO qcore_lock (number) VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15), (16), (17), (18), (19), (20), (21), (22), (23), (24), (25), (26), (27), (28), (29), (30), (31), (32), (33), (34), (35), (36), (37), (38), (39), (40), (41), (42), (43), (44), (45), (46), (47), (48), (49), (50), (51), (52), (53), (54), (55), (56), (57), (58), (59), (60), (61), (62), (63);
INSERT INTO qcore_schema (version, name) VALUES (1, '0123456789abcdef0123456789abcdef');
