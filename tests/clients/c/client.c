/* The C client against a server: connects, uses every synchronous call, sees a watch, resumes its session.
 * Usage: client host:port; status 0 when all is as expected. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

static volatile int connected;
static volatile int seen_changed;

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh;
    (void)path;
    (void)context;
    if (type == ZOO_SESSION_EVENT) {
        connected = state == ZOO_CONNECTED_STATE;
    } else if (type == ZOO_CHANGED_EVENT) {
        seen_changed = 1;
    }
}

static void expect(const char *what, long got, long wanted) {
    if (got != wanted) {
        fprintf(stderr, "%s: %ld instead of %ld\n", what, got, wanted);
        exit(1);
    }
}

static int within_seconds(volatile int *flag, int seconds) {
    for (int i = 0; i < seconds * 100 && !*flag; i++) {
        usleep(10000);
    }
    return *flag;
}

static zhandle_t *open_session(const char *host, const clientid_t *id) {
    connected = 0;
    zhandle_t *zh = zookeeper_init(host, on_event, 10000, id, NULL, 0);
    if (zh == NULL || !within_seconds(&connected, 10)) {
        fprintf(stderr, "no session\n");
        exit(1);
    }
    return zh;
}

static void nodes(zhandle_t *zh) {
    char path[256], data[256];
    struct Stat stat;
    struct String_vector names;
    int len = sizeof(data);
    expect("create", zoo_create(zh, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof(path)), ZOK);
    expect("create again", zoo_create(zh, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZNODEEXISTS);
    expect("sequence", zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof(path)), ZOK);
    expect("name", strcmp(path, "/c/s-0000000000"), 0);
    expect("ephemeral", zoo_create(zh, "/c/e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), ZOK);
    expect("wget", zoo_wget(zh, "/c", on_event, NULL, data, &len, &stat), ZOK);
    expect("length", len, 3);
    expect("children", stat.numChildren, 2);
    expect("set, wrong version", zoo_set(zh, "/c", "two!", 4, 9), ZBADVERSION);
    expect("set", zoo_set2(zh, "/c", "two!", 4, 0, &stat), ZOK);
    expect("version", stat.version, 1);
    expect("event", within_seconds(&seen_changed, 5), 1);
    expect("get children", zoo_get_children2(zh, "/c", 0, &names, &stat), ZOK);
    expect("names", names.count, 2);
    deallocate_String_vector(&names);
    expect("delete, children", zoo_delete(zh, "/c", -1), ZNOTEMPTY);
    expect("exists", zoo_exists(zh, "/none", 0, &stat), ZNONODE);
}

static void multi(zhandle_t *zh) {
    zoo_op_t ops[3];
    zoo_op_result_t results[3];
    char path[64];
    zoo_create_op_init(&ops[0], "/m", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof(path));
    zoo_check_op_init(&ops[1], "/c", 77);
    zoo_delete_op_init(&ops[2], "/m", -1);
    expect("multi that fails", zoo_multi(zh, 3, ops, results), ZBADVERSION);
    expect("its first", results[0].err, ZOK);
    expect("its third", results[2].err, ZRUNTIMEINCONSISTENCY);
    zoo_check_op_init(&ops[1], "/c", 1);
    expect("multi", zoo_multi(zh, 3, ops, results), ZOK);
}

static void identities(zhandle_t *zh) {
    struct ACL_vector acl;
    struct Stat stat;
    expect("add auth", zoo_add_auth(zh, "digest", "u:p", 3, NULL, NULL), ZOK);
    expect("create with auth", zoo_create(zh, "/mine", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0), ZOK);
    expect("get acl", zoo_get_acl(zh, "/mine", &acl, &stat), ZOK);
    expect("entries", acl.count, 1);
    expect("scheme", strcmp(acl.data[0].id.scheme, "digest"), 0);
    deallocate_ACL_vector(&acl);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 64;
    }
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *zh = open_session(argv[1], NULL);
    nodes(zh);
    multi(zh);
    identities(zh);
    /* The same session through another connection: the ephemeral stays its own. */
    clientid_t id = *zoo_client_id(zh);
    zhandle_t *again = open_session(argv[1], &id);
    expect("session", zoo_client_id(again)->client_id == id.client_id, 1);
    struct Stat stat;
    expect("exists", zoo_exists(again, "/c/e", 0, &stat), ZOK);
    expect("owner", stat.ephemeralOwner == id.client_id, 1);
    expect("close", zookeeper_close(again), ZOK);
    printf("libzookeeper_mt: as expected\n");
    fflush(stdout);
    /* The first handle's session is closed under it: do not ask it to say goodbye. */
    _exit(0);
}
