/* Open-loop load: requests arrive by a Poisson process, whatever the server does.
 *
 *   arrivals PORT REQUESTS CONNECTIONS SEED WAIT_SECONDS PATIENCE_SECONDS OUTPUT
 *            RATE SECONDS [RATE SECONDS ...]
 *
 * REQUESTS holds each request's length in bytes, a line break, and the request. They are sent in
 * turn, for so many SECONDS at each RATE, over up to CONNECTIONS. An arrival that finds every
 * connection busy waits for one, and its latency counts from when it was due; after WAIT_SECONDS
 * it is given up.
 *
 * OUTPUT gets 16 bytes per arrival, in order of completion, little-endian: when it was due in
 * microseconds from the start (8), latency in microseconds (4), status (2), whether the answer has
 * Retry-After (2). Status 0: the connection ended without an answer; 1: no answer within
 * PATIENCE_SECONDS after the last arrival; 2: given up before it was sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MOST_REQUESTS = 65536, MOST_STAGES = 32, HEAD = 16384, LOST = 0,
       UNANSWERED = 1, UNSENT = 2 };
enum state { CONNECTING, IDLE, BUSY };

struct stage {
    double rate, ends;
};

struct request {
    char *bytes;
    size_t size;
};

struct connection {
    int fd;
    enum state state;
    uint64_t due; /* of the request that it carries */
    const struct request *request;
    size_t sent;
    char head[HEAD + 1];
    size_t head_size;
    int status, retry_after, closes;
    int64_t body_left; /* -1 before the head is whole */
};

struct sample {
    uint64_t due;
    uint32_t latency;
    uint16_t status, retry_after;
};

static struct stage stages[MOST_STAGES];
static int stage, stage_count;
static struct request requests[MOST_REQUESTS];
static int request_count, next_request;
static struct connection *connections;
static int connection_count, connection_limit, *idle, idle_count;
static uint64_t *waiting; /* when each was due; a queue */
static size_t waiting_head, waiting_tail;
static FILE *output;
static struct sockaddr_in address;
static int poller, timer, busy_count;
static uint64_t began, random_state, longest_wait;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Uniform in (0, 1]: xorshift64*, Vigna 2016. */
static double uniform(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return ((random_state * 2685821657736338717ULL >> 11) + 1) / 9007199254740992.0;
}

static void load_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    size_t size;
    while (request_count < MOST_REQUESTS && fscanf(file, "%zu", &size) == 1) {
        fgetc(file);
        struct request *r = &requests[request_count++];
        *r = (struct request){malloc(size), size};
        if (fread(r->bytes, 1, size, file) != size) fail(path);
    }
    fclose(file);
    if (!request_count) {
        fprintf(stderr, "%s holds no request\n", path);
        exit(2);
    }
}

static void record(uint64_t due, uint64_t now, int status, int retry_after) {
    uint64_t latency = now - due;
    struct sample sample = {due - began, latency > UINT32_MAX ? UINT32_MAX : latency, status,
                            retry_after};
    fwrite(&sample, sizeof sample, 1, output);
}

static void watch(struct connection *c, uint32_t events, int how) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poller, how, c->fd, &event);
}

static void connect_again(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket");
    int yes = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->state = CONNECTING;
    connect(c->fd, (struct sockaddr *)&address, sizeof address);
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void become_idle(struct connection *c);

static void lose(struct connection *c) {
    if (c->state == BUSY) {
        busy_count--;
        record(c->due, now_us(), LOST, 0);
    } else if (c->state == IDLE) {
        for (int i = 0; i < idle_count; i++)
            if (&connections[idle[i]] == c) idle[i] = idle[--idle_count];
    }
    connect_again(c);
}

static void send_more(struct connection *c) {
    const struct request *r = c->request;
    ssize_t sent = send(c->fd, r->bytes + c->sent, r->size - c->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return lose(c);
    c->sent += sent > 0 ? sent : 0;
    watch(c, c->sent < r->size ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

static void begin(struct connection *c, uint64_t due) {
    c->state = BUSY;
    busy_count++;
    c->due = due;
    c->request = &requests[next_request++ % request_count];
    c->sent = c->head_size = 0;
    c->body_left = -1;
    c->closes = 0;
    ssize_t sent = send(c->fd, c->request->bytes, c->request->size, MSG_NOSIGNAL);
    if (sent == (ssize_t)c->request->size)
        c->sent = sent;
    else
        send_more(c);
}

static void give_up_waiting(uint64_t now) {
    while (waiting_head != waiting_tail && waiting[waiting_head] + longest_wait < now)
        record(waiting[waiting_head++], now, UNSENT, 0);
}

static void become_idle(struct connection *c) {
    give_up_waiting(now_us());
    if (waiting_head != waiting_tail) return begin(c, waiting[waiting_head++]);
    c->state = IDLE;
    idle[idle_count++] = c - connections;
}

/* Connections are opened as they are needed: one that has never been used is soon closed. */
static void arrive(uint64_t due) {
    if (idle_count) return begin(&connections[idle[--idle_count]], due);
    waiting[waiting_tail++] = due;
    if (connection_count < connection_limit) {
        struct connection *c = &connections[connection_count++];
        c->fd = -1;
        connect_again(c);
    }
}

static void finish(struct connection *c) {
    busy_count--;
    record(c->due, now_us(), c->status, c->retry_after);
    if (c->closes) {
        c->state = CONNECTING;
        return connect_again(c);
    }
    become_idle(c);
}

/* Reads the head's meaning once it is whole; returns how much of the body came along. */
static int64_t parse_head(struct connection *c) {
    c->head[c->head_size] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return -1;
    *end = 0;
    c->status = atoi(c->head + 9);
    c->retry_after = strcasestr(c->head, "\r\nretry-after:") != NULL;
    c->closes = strcasestr(c->head, "\r\nconnection: close") != NULL;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->body_left = length ? atoll(length + 17) : 0;
    return c->head_size - (end + 4 - c->head);
}

static void receive(struct connection *c) {
    static char scratch[262144];
    ssize_t got = recv(c->fd, scratch, sizeof scratch, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || c->state != BUSY) return lose(c);
    if (c->body_left >= 0) {
        c->body_left -= got;
    } else {
        size_t room = HEAD - c->head_size, kept = (size_t)got < room ? (size_t)got : room;
        memcpy(c->head + c->head_size, scratch, kept);
        c->head_size += kept;
        int64_t along = parse_head(c);
        if (along < 0 && c->head_size == HEAD) return lose(c);
        if (along >= 0) c->body_left -= along + (got - (ssize_t)kept);
    }
    if (c->body_left == 0) finish(c);
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        usleep(1000);
        return connect_again(c);
    }
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    become_idle(c);
}

static void handle_events(void) {
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, 100);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        uint64_t expirations;
        if (!c) {
            if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
        } else if (c->state == CONNECTING) {
            connected(c);
        } else if (c->state == BUSY && c->sent < c->request->size && events[i].events & EPOLLOUT) {
            send_more(c);
        } else {
            receive(c);
        }
    }
}

static void set_timer(uint64_t at) {
    struct itimerspec when = {.it_value = {at / 1000000, at % 1000000 * 1000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* When the next one arrives. The process has no memory: it may begin anew where the rate changes. */
static double after(double next) {
    for (;;) {
        next -= log(uniform()) / stages[stage].rate * 1e6;
        if (next < stages[stage].ends) return next;
        next = stages[stage].ends;
        if (++stage == stage_count) return INFINITY;
    }
}

static void run(uint64_t patience) {
    uint64_t stops = stages[stage_count - 1].ends + patience;
    double next = after(began);
    while (now_us() < stops) {
        uint64_t now = now_us();
        for (; next <= now; next = after(next)) arrive(next);
        if (isinf(next) && !busy_count && waiting_head == waiting_tail) return;
        set_timer(isinf(next) ? stops : (uint64_t)next);
        handle_events();
        give_up_waiting(now_us());
    }
}

static void give_up(void) {
    uint64_t now = now_us();
    for (int i = 0; i < connection_count; i++)
        if (connections[i].state == BUSY) record(connections[i].due, now, UNANSWERED, 0);
    while (waiting_head != waiting_tail) record(waiting[waiting_head++], now, UNSENT, 0);
}

/* The stages' ends, counted from now on; how many arrivals there will be, or a few more. */
static size_t load_stages(int count, char **arguments) {
    double ends = 0, arrivals = 0;
    for (int i = 0; i + 1 < count && stage_count < MOST_STAGES; i += 2) {
        double rate = atof(arguments[i]), seconds = atof(arguments[i + 1]);
        ends += seconds * 1e6;
        arrivals += rate * seconds;
        stages[stage_count++] = (struct stage){rate, ends};
    }
    return arrivals + 10 * sqrt(arrivals) + 1000;
}

int main(int count, char **arguments) {
    if (count < 10) {
        fprintf(stderr, "arrivals PORT REQUESTS CONNECTIONS SEED WAIT_SECONDS "
                        "PATIENCE_SECONDS OUTPUT RATE SECONDS [RATE SECONDS ...]\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    struct rlimit files = {16384, 16384};
    setrlimit(RLIMIT_NOFILE, &files);
    address = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons(atoi(arguments[1])),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load_requests(arguments[2]);
    longest_wait = atof(arguments[5]) * 1e6;
    connection_limit = atoi(arguments[3]);
    random_state = strtoull(arguments[4], NULL, 10) * 2654435769u + 88172645463325252ULL;
    output = fopen(arguments[7], "wb");
    if (!output) fail(arguments[7]);
    connections = calloc(connection_limit, sizeof *connections);
    idle = calloc(connection_limit, sizeof *idle);
    waiting = calloc(load_stages(count - 8, arguments + 8), sizeof *waiting);
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    began = now_us();
    for (int i = 0; i < stage_count; i++) stages[i].ends += began;
    run(atof(arguments[6]) * 1e6);
    give_up();
    if (fclose(output)) fail(arguments[7]);
    return 0;
}
