/* Canned AWS: answers DynamoDB and S3 calls over HTTP/1.1 from files, on one epoll loop.
 *
 *   responder PORT FOLDER DYNAMODB_DELAY_US S3_DELAY_US DYNAMODB_LIMIT S3_LIMIT
 *
 * FOLDER/index has a line per answer, of five fields with tabs between: the operation; text that
 * the request must hold; text after which the request holds what is echoed; how many bytes of it;
 * the file with the whole HTTP answer, where '~' repeated so often is where the echo goes. The
 * first line that fits counts; '-' stands for no text.
 *
 * A limit is how many calls a service works on at once; others wait their turn. 0 is no limit.
 * GET /_calls answers with the number of calls by operation and such text.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ANSWERS = 32, PLACES = 8, CONNECTIONS = 8192, ECHO = 64, QUEUE = 1 << 16, LIMIT = 1024 };

struct answer {
    char operation[32], needle[64], echo_after[64];
    size_t echo_size, size, places[PLACES];
    int place_count;
    char *bytes;
    unsigned long calls;
};

struct connection {
    unsigned generation; /* of this descriptor: a late answer must not reach the next client */
    int busy, continued;
    char *in, *out;
    size_t in_size, in_room, out_size, out_sent;
};

struct due {
    uint64_t at;
    int fd;
    unsigned generation;
    const struct answer *answer;
    char echo[ECHO];
};

/* All calls of a service take equally long, so they end in the order of their arrival. */
struct service {
    uint64_t delay;
    unsigned limit;
    uint64_t ends[LIMIT]; /* of the latest calls, a ring */
    unsigned long calls;
    unsigned head, tail;
    struct due *queue;
};

static struct answer answers[ANSWERS];
static int answer_count;
static unsigned long unmatched;
static struct connection connections[CONNECTIONS];
static struct service dynamodb, s3;
static int poller, timer;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- answers ------------------------------------------------------------------------------ */

static void load_bytes(struct answer *a, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    a->size = ftell(file);
    rewind(file);
    a->bytes = malloc(a->size);
    if (fread(a->bytes, 1, a->size, file) != a->size) fail(path);
    fclose(file);
}

static void find_places(struct answer *a) {
    char mark[ECHO];
    memset(mark, '~', sizeof mark);
    for (char *at = a->bytes; a->echo_size && a->place_count < PLACES;) {
        at = memmem(at, a->bytes + a->size - at, mark, a->echo_size);
        if (!at) return;
        a->places[a->place_count++] = at - a->bytes;
        at += a->echo_size;
    }
}

static void load_answers(const char *folder) {
    char path[4096], name[64], line[512];
    snprintf(path, sizeof path, "%s/index", folder);
    FILE *index = fopen(path, "r");
    if (!index) fail(path);
    while (answer_count < ANSWERS && fgets(line, sizeof line, index)) {
        struct answer *a = &answers[answer_count];
        if (sscanf(line, "%31[^\t]\t%63[^\t]\t%63[^\t]\t%zu\t%63[^\n]", a->operation, a->needle,
                   a->echo_after, &a->echo_size, name) != 5 || a->echo_size > ECHO)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        load_bytes(a, path);
        find_places(a);
        answer_count++;
    }
    fclose(index);
}

static const struct answer *find_answer(const char *operation, size_t size, const char *request,
                                        size_t request_size, char *echo) {
    for (struct answer *a = answers; a < answers + answer_count; a++) {
        if (strlen(a->operation) != size || memcmp(a->operation, operation, size)) continue;
        if (strcmp(a->needle, "-") && !memmem(request, request_size, a->needle, strlen(a->needle)))
            continue;
        if (a->echo_size) {
            const char *found =
                memmem(request, request_size, a->echo_after, strlen(a->echo_after));
            if (!found) continue;
            found += strlen(a->echo_after);
            if (found + a->echo_size > request + request_size) continue;
            memcpy(echo, found, a->echo_size);
        }
        a->calls++;
        return a;
    }
    unmatched++;
    fprintf(stderr, "no answer for %.*s: %.*s\n", (int)size, operation,
            (int)(request_size < 2000 ? request_size : 2000), request);
    return NULL;
}

/* --- connections -------------------------------------------------------------------------- */

static void drop(int fd) {
    struct connection *c = &connections[fd];
    free(c->in);
    free(c->out);
    *c = (struct connection){.generation = c->generation + 1};
    close(fd);
}

static void watch(int fd, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, how, fd, &event);
}

static void flush(int fd) {
    struct connection *c = &connections[fd];
    ssize_t sent = send(fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(fd);
    c->out_sent += sent > 0 ? sent : 0;
    if (c->out_sent < c->out_size) return;
    free(c->out);
    c->out = NULL;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_bytes(int fd, const char *bytes, size_t size) {
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return drop(fd);
    if (sent < 0) sent = 0;
    if ((size_t)sent == size) return;
    struct connection *c = &connections[fd];
    c->out_size = size - sent;
    c->out_sent = 0;
    c->out = malloc(c->out_size);
    memcpy(c->out, bytes + sent, c->out_size);
    watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void send_answer(int fd, const struct answer *a, const char *echo) {
    static char scratch[1 << 20];
    const char *bytes = a->bytes;
    if (a->place_count) {
        memcpy(scratch, a->bytes, a->size);
        for (int i = 0; i < a->place_count; i++)
            memcpy(scratch + a->places[i], echo, a->echo_size);
        bytes = scratch;
    }
    connections[fd].busy = 0;
    send_bytes(fd, bytes, a->size);
}

static void send_calls(int fd) {
    char body[4096], whole[4400];
    int size = snprintf(body, sizeof body, "{\"unmatched\":%lu", unmatched);
    for (int i = 0; i < answer_count; i++)
        size += snprintf(body + size, sizeof body - size, ",\"%s %s\":%lu",
                         answers[i].operation, answers[i].needle, answers[i].calls);
    size += snprintf(body + size, sizeof body - size, "}");
    int total = snprintf(whole, sizeof whole, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s",
                         size, body);
    connections[fd].busy = 0;
    send_bytes(fd, whole, total);
}

/* --- time --------------------------------------------------------------------------------- */

static int is_due(const struct service *s, uint64_t now) {
    return s->head != s->tail && s->queue[s->head % QUEUE].at <= now;
}

static void set_timer(void) {
    uint64_t next = UINT64_MAX;
    for (struct service *s = &dynamodb;; s = &s3) {
        if (s->head != s->tail && s->queue[s->head % QUEUE].at < next)
            next = s->queue[s->head % QUEUE].at;
        if (s == &s3) break;
    }
    struct itimerspec when = {0};
    if (next != UINT64_MAX)
        when.it_value = (struct timespec){next / 1000000, next % 1000000 * 1000};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void put_off(struct service *s, int fd, const struct answer *a, const char *echo) {
    uint64_t begins = now_us();
    if (s->limit) { /* when the one that is `limit` calls ahead has ended */
        uint64_t *slot = &s->ends[s->calls++ % s->limit];
        begins = *slot > begins ? *slot : begins;
        *slot = begins + s->delay;
    }
    struct due *due = &s->queue[s->tail++ % QUEUE];
    *due = (struct due){begins + s->delay, fd, connections[fd].generation, a, {0}};
    memcpy(due->echo, echo, ECHO);
    set_timer();
}

static void handle(int fd);

static void answer_due(struct service *s, uint64_t now) {
    while (is_due(s, now)) {
        struct due *due = &s->queue[s->head++ % QUEUE];
        if (connections[due->fd].generation != due->generation) continue;
        send_answer(due->fd, due->answer, due->echo);
        if (connections[due->fd].generation == due->generation) handle(due->fd);
    }
}

/* --- requests ----------------------------------------------------------------------------- */

static const char *operation_of(const char *head, size_t head_size, size_t *size, int *is_s3) {
    static const char mark[] = "DynamoDB_20120810.";
    const char *found = memmem(head, head_size, mark, sizeof mark - 1);
    *is_s3 = !found;
    if (found) {
        found += sizeof mark - 1;
        *size = strcspn(found, "\r");
        return found;
    }
    const char *name = *head == 'P' ? "PutObject" : *head == 'G' ? "GetObject" : "HeadObject";
    *size = strlen(name);
    return name;
}

static void answer(int fd, const char *request, size_t head_size, size_t size) {
    if (!memcmp(request, "GET /_calls ", 12)) return send_calls(fd);
    char echo[ECHO] = {0};
    size_t name_size;
    int is_s3;
    const char *name = operation_of(request, head_size, &name_size, &is_s3);
    const struct answer *a = find_answer(name, name_size, request, size, echo);
    static const char refusal[] = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    struct service *service = is_s3 ? &s3 : &dynamodb;
    connections[fd].busy = 1;
    if (!a) {
        connections[fd].busy = 0;
        send_bytes(fd, refusal, sizeof refusal - 1);
    } else if (service->delay) {
        put_off(service, fd, a, echo);
    } else {
        send_answer(fd, a, echo);
    }
}

/* Answers the requests that have come whole; those behind one that is being worked on wait. */
static void handle(int fd) {
    struct connection *c = &connections[fd];
    unsigned generation = c->generation;
    while (c->generation == generation && !c->busy && !c->out && c->in_size) {
        char *end = memmem(c->in, c->in_size, "\r\n\r\n", 4);
        if (!end) return;
        size_t head_size = end + 4 - c->in;
        *end = 0; /* the end of the text to search in */
        char *length = strcasestr(c->in, "\r\ncontent-length:");
        int expects = strcasestr(c->in, "100-continue") != NULL;
        *end = '\r';
        size_t whole = head_size + (length ? strtoul(length + 17, NULL, 10) : 0);
        if (c->in_size < whole) {
            if (expects && !c->continued && c->in_size == head_size) {
                c->continued = 1;
                send_bytes(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            }
            return;
        }
        answer(fd, c->in, head_size, whole);
        if (c->generation != generation) return;
        c->continued = 0;
        c->in_size -= whole;
        memmove(c->in, c->in + whole, c->in_size);
    }
}

static void receive(int fd) {
    struct connection *c = &connections[fd];
    if (c->in_room - c->in_size < 65536) {
        c->in_room += 131072;
        c->in = realloc(c->in, c->in_room);
    }
    ssize_t got = recv(fd, c->in + c->in_size, c->in_room - c->in_size, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return drop(fd);
    c->in_size += got > 0 ? got : 0;
    handle(fd);
}

static void welcome(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= CONNECTIONS) {
            close(fd);
            continue;
        }
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        fail("listen");
    return listener;
}

static void set_service(struct service *s, const char *delay, const char *limit) {
    s->delay = strtoul(delay, NULL, 10);
    s->limit = strtoul(limit, NULL, 10);
    s->queue = calloc(QUEUE, sizeof *s->queue);
    if (s->limit > LIMIT) {
        fprintf(stderr, "a limit is at most %d\n", LIMIT);
        exit(2);
    }
}

int main(int count, char **arguments) {
    if (count != 7) {
        fprintf(stderr, "responder PORT FOLDER DYNAMODB_DELAY_US S3_DELAY_US DYNAMODB_LIMIT "
                        "S3_LIMIT\n");
        return 2;
    }
    struct rlimit files = {CONNECTIONS, CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    load_answers(arguments[2]);
    set_service(&dynamodb, arguments[3], arguments[5]);
    set_service(&s3, arguments[4], arguments[6]);
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int listener = listen_on(atoi(arguments[1]));
    watch(timer, EPOLLIN, EPOLL_CTL_ADD);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            uint64_t expirations;
            if (fd == listener) {
                welcome(listener);
            } else if (fd == timer) {
                if (read(timer, &expirations, sizeof expirations) < 0) continue;
                answer_due(&dynamodb, now_us());
                answer_due(&s3, now_us());
                set_timer();
            } else if (events[i].events & EPOLLOUT) {
                flush(fd);
                if (connections[fd].in && !connections[fd].out) handle(fd);
            } else {
                receive(fd);
            }
        }
    }
}
