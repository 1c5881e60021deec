-- A store as the first release left it.
BEGIN TRANSACTION;
CREATE TABLE jobs (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, operation TEXT NOT NULL,
            status TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL, completed_at REAL, expires_at REAL,
            model TEXT NOT NULL, prompt TEXT NOT NULL, source TEXT, error JSON, settings JSON NOT NULL,
            warnings JSON NOT NULL, file TEXT, bytes INTEGER NOT NULL, process TEXT NOT NULL,
            deleted BOOLEAN NOT NULL);
CREATE INDEX jobs_active ON jobs (status) WHERE status IN ('queued', 'in_progress');
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX jobs_shown ON jobs (deleted, seq);
CREATE TABLE characters (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            created_at REAL NOT NULL, picture TEXT NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO jobs VALUES(1,'video_1','generate','completed',1.0,NULL,2.0,NULL,'m','x',NULL,'null','{"size": "1x1"}','[]','video.mp4',70,'p',0);
INSERT INTO characters VALUES(1,'char_1','x',1.0,'x.png',7);
PRAGMA user_version = 1;
COMMIT;
