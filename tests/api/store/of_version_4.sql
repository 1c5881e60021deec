-- A store as the Atelier before PostgreSQL left it: iterdump() of its file.
BEGIN TRANSACTION;
CREATE TABLE characters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            created_at REAL NOT NULL, picture TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO "characters" VALUES(1,'char_00000000000000000000000000000001','Ada',2.5,'x.png',7);
CREATE TABLE claims (folder TEXT PRIMARY KEY, process TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO "claims" VALUES('video_00000000000000000000000000000063','7',500);
CREATE TABLE desk (key TEXT PRIMARY KEY, value JSON, revision INTEGER NOT NULL);
INSERT INTO "desk" VALUES('video/a','{"name": "one"}',1);
INSERT INTO "desk" VALUES('board/b',NULL,2);
CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,
            status TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, completed_at REAL, expires_at REAL,
            model TEXT NOT NULL, prompt TEXT NOT NULL, source TEXT, error JSON, settings JSON NOT NULL,
            warnings JSON NOT NULL, file TEXT, bytes INTEGER NOT NULL, process TEXT NOT NULL,
            deleted BOOLEAN NOT NULL, stopping BOOLEAN NOT NULL DEFAULT 0);
INSERT INTO "jobs" VALUES(1,'video_00000000000000000000000000000001','generate','queued',1.0,NULL,NULL,NULL,'m','a shot, 1 é日',NULL,'null','{"seed": 9223372036854775809, "size": "64x64"}','["w"]',NULL,10,'1',0,0);
INSERT INTO "jobs" VALUES(2,'video_00000000000000000000000000000002','generate','in_progress',1.0,1.79588801941242146489e+09,NULL,NULL,'m','a shot, 2 é日',NULL,'null','{"seed": 9223372036854775810, "size": "64x64"}','["w"]',NULL,20,'1',0,0);
INSERT INTO "jobs" VALUES(3,'video_00000000000000000000000000000003','generate','completed',1.0,NULL,5.5,4000000000.0,'m','a shot, 3 é日',NULL,'null','{"seed": 9223372036854775811, "size": "64x64"}','["w"]','video_00001_.mp4',30,'1',0,0);
INSERT INTO "jobs" VALUES(4,'video_00000000000000000000000000000004','generate','failed',1.0,NULL,NULL,NULL,'m','a shot, 4 é日',NULL,'{"code": "server_restarted", "message": "x"}','{"seed": 9223372036854775812, "size": "64x64"}','["w"]',NULL,40,'1',0,0);
INSERT INTO "jobs" VALUES(5,'video_00000000000000000000000000000005','generate','queued',1.0,NULL,NULL,NULL,'m','a shot, 5 é日',NULL,'null','{"seed": 9223372036854775813, "size": "64x64"}','["w"]',NULL,50,'1',1,1);
CREATE TABLE kept (bytes INTEGER NOT NULL);
INSERT INTO "kept" VALUES(157);
CREATE TABLE places (id TEXT PRIMARY KEY, seq INTEGER NOT NULL);
INSERT INTO "places" VALUES('video_00000000000000000000000000000008',8);
INSERT INTO "places" VALUES('video_00000000000000000000000000000006',6);
INSERT INTO "places" VALUES('video_00000000000000000000000000000007',7);
CREATE INDEX jobs_active ON jobs (status) WHERE status IN ('queued', 'in_progress');
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_shown ON jobs (deleted, seq);
CREATE TRIGGER jobs_kept_more AFTER INSERT ON jobs BEGIN UPDATE kept SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER jobs_kept_less AFTER DELETE ON jobs BEGIN UPDATE kept SET bytes = bytes + -OLD.bytes; END;
CREATE TRIGGER jobs_kept_other AFTER UPDATE OF bytes ON jobs BEGIN UPDATE kept SET bytes = bytes + NEW.bytes - OLD.bytes; END;
CREATE TRIGGER characters_kept_more AFTER INSERT ON characters BEGIN UPDATE kept SET bytes = bytes + NEW.bytes; END;
CREATE TRIGGER characters_kept_less AFTER DELETE ON characters BEGIN UPDATE kept SET bytes = bytes + -OLD.bytes; END;
CREATE TRIGGER characters_kept_other AFTER UPDATE OF bytes ON characters BEGIN UPDATE kept SET bytes = bytes + NEW.bytes - OLD.bytes; END;
CREATE INDEX desk_changed ON desk (revision);
UPDATE sqlite_sequence SET seq = 8 WHERE name = 'jobs';
UPDATE sqlite_sequence SET seq = 1 WHERE name = 'characters';
PRAGMA user_version = 4;
COMMIT;
