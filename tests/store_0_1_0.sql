-- What voxid 0.1.0 wrote (`sqlite3 people.db .dump`): alicia, once alice; Zoë; a change of model half way.
PRAGMA application_id = 1987016804;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        time TEXT NOT NULL,
        action TEXT NOT NULL,
        collection TEXT NOT NULL,
        person INTEGER NOT NULL,
        name TEXT NOT NULL,
        detail TEXT NOT NULL
    );
INSERT INTO "audit" VALUES(1,'2026-11-28T10:59:50.203204+00:00','enrolled','default',1,'alice','{"voiceprints":2}');
INSERT INTO "audit" VALUES(2,'2026-11-28T10:59:50.205421+00:00','enrolled','default',2,'Zoë','{"voiceprints":1}');
INSERT INTO "audit" VALUES(3,'2026-11-28T10:59:50.214896+00:00','enrolled','default',3,'','{}');
INSERT INTO "audit" VALUES(4,'2026-11-28T10:59:50.216638+00:00','renamed','default',1,'alicia','{"from":"alice"}');
INSERT INTO "audit" VALUES(5,'2026-11-28T10:59:50.218917+00:00','deleted','default',3,'','{"voiceprints":1}');
INSERT INTO "audit" VALUES(6,'2026-11-28T10:59:50.251287+00:00','enrolled','büro',4,'bob','{"voiceprints":1}');
INSERT INTO "audit" VALUES(7,'2026-11-28T10:59:50.252926+00:00','upgrade begun','default',0,'','{"from":"m","to":"next"}');
CREATE TABLE collections (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL DEFAULT '',
        dim INTEGER NOT NULL DEFAULT 0,
        sequence INTEGER NOT NULL DEFAULT 0,
        reloaded INTEGER NOT NULL DEFAULT 0,
        epoch TEXT NOT NULL,
        created TEXT NOT NULL
    , next_model TEXT NOT NULL DEFAULT '', next_dim INTEGER NOT NULL DEFAULT 0);
INSERT INTO "collections" VALUES(1,'default','m',3,6,1,'f7a9cfca23214a0c99eb374884329bd3','2026-11-28T10:59:50.202978+00:00','next',2);
INSERT INTO "collections" VALUES(2,'büro','other',2,2,1,'97b43ab712324905bf6364df0cad3796','2026-11-28T10:59:50.251015+00:00','',0);
CREATE TABLE gone (
        person INTEGER PRIMARY KEY,
        collection INTEGER NOT NULL REFERENCES collections (id),
        sequence INTEGER NOT NULL
    );
INSERT INTO "gone" VALUES(3,1,6);
CREATE TABLE people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        collection INTEGER NOT NULL REFERENCES collections (id),
        name TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        revision INTEGER NOT NULL, staged INTEGER NOT NULL DEFAULT -1,
        UNIQUE (collection, name)
    );
INSERT INTO "people" VALUES(1,1,'alicia','{"room":7}','2026-11-28T10:59:50.203204+00:00','2026-11-28T10:59:50.216501+00:00',5,2,-1);
INSERT INTO "people" VALUES(2,1,'Zoë','{}','2026-11-28T10:59:50.205421+00:00','2026-11-28T10:59:50.205421+00:00',3,3,3);
INSERT INTO "people" VALUES(4,2,'bob','{}','2026-11-28T10:59:50.251287+00:00','2026-11-28T10:59:50.251287+00:00',2,2,-1);
CREATE TABLE voiceprints (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        person INTEGER NOT NULL REFERENCES people (id),
        collection INTEGER NOT NULL REFERENCES collections (id),
        model TEXT NOT NULL,
        embedding BLOB NOT NULL,
        speech_s REAL NOT NULL,
        source TEXT NOT NULL,
        created TEXT NOT NULL,
        extra TEXT NOT NULL,
        UNIQUE (person, model, id)
    );
INSERT INTO "voiceprints" VALUES(1,'2bf528b5e3d7477d90b34cce74f885e9',1,1,'m',X'9A99193FCDCC4C3F00000000',4.25,'a1.wav','2026-11-28T10:59:50.202569+00:00','{"total_s":5.0}');
INSERT INTO "voiceprints" VALUES(2,'39eeaa8757a64f1f8d60f859f63da799',1,1,'m',X'CDCC4C3F9A99193F00000000',2.0,'a2.wav','2026-11-28T10:59:50.202603+00:00','{}');
INSERT INTO "voiceprints" VALUES(3,'975b86d6d6cd49e199d31b056bfba92f',2,1,'m',X'000000000000000000000040',3.0,'z.wav','2026-11-28T10:59:50.205181+00:00','{}');
INSERT INTO "voiceprints" VALUES(5,'2a89c009c03944fea324bd6392dd74bc',4,2,'other',X'0000803F00000040',3.0,'','2026-11-28T10:59:50.250656+00:00','{}');
INSERT INTO "voiceprints" VALUES(6,'ba7a74af0d9842e29258f2521c12b335',2,1,'next',X'0000404000008040',0.0,'again.wav','2026-11-28T10:59:50.254412+00:00','{}');
CREATE TABLE wiping (id INTEGER PRIMARY KEY, since TEXT NOT NULL);
CREATE INDEX people_sequence ON people (collection, sequence);
CREATE INDEX voiceprints_collection ON voiceprints (collection, model);
CREATE INDEX gone_sequence ON gone (collection, sequence);
CREATE INDEX audit_person ON audit (person);
CREATE TRIGGER audit_stays BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_only_forgets BEFORE UPDATE ON audit WHEN NOT (
            new.name = '' AND new.detail = '{}' AND new.sequence = old.sequence AND new.time = old.time
            AND new.action = old.action AND new.collection = old.collection AND new.person = old.person)
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('collections',2);
INSERT INTO "sqlite_sequence" VALUES('people',4);
INSERT INTO "sqlite_sequence" VALUES('voiceprints',6);
INSERT INTO "sqlite_sequence" VALUES('audit',7);
COMMIT;
