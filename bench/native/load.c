/* load: many chat connections in one epoll loop, so that the load costs less than the server that it measures.
 *
 * It knows no chat protocol: units are lines or WebSocket frames, and what is said comes as templates, with
 * %i index of the connection, %r its room, %c cookie, %e epoch, %s seq and %t rest of a ping found in what the server said.
 * A unit with `~` and 32 hex digits (time in ns, sender, number) is a delivery; other units are matched as text.
 *
 * On standard output: {"event":"ready"}, {"event":"run"}, ...; on standard input: go, drop, resume, quit (one a line).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLOSED, CONNECTING, UPGRADING, GREETING, JOINING, READY };
enum { SUB = 32, BUCKETS = 48 * SUB, BUFFER = 1 << 20, PORTS = 64, PIDS = 64 };

typedef struct {
    int fd, state, room, slot;          /* slot: which sender of its room, -1 none */
    uint32_t sent, acked, echoed;
    uint64_t seq, got;                  /* last seq and units delivered */
    char *part; uint32_t part_len;      /* an unfinished unit */
    char *out; uint32_t out_len;        /* what the kernel would not take */
    char *cookie, *epoch;
} Conn;

static struct {
    const char *host, *path, *hello, *ready, *join, *joined, *prefix, *suffix, *ack, *error, *ping, *pong;
    const char *seq, *resume;
    int ws, rooms, members, senders, slots, window, body, ramp, sources, source, offset, echo, split, missed, drain_ms;
    double rate, warmup, seconds;
    int ports[PORTS], nports, pids[PIDS], npids;
} o = {.host = "127.0.0.1", .path = "/ws", .hello = "", .ready = "", .join = "", .joined = "", .prefix = "", .suffix = "\n",
       .ack = "", .error = "", .ping = "", .pong = "", .seq = "", .resume = "", .rooms = 1, .members = 1, .window = 1,
       .body = 128, .ramp = 200, .sources = 100, .source = 1, .echo = 1, .warmup = 0.5, .seconds = 2, .drain_ms = 5000};

static Conn *conns;
static int count, opening, next_open, ready, ep, running, resuming, complete;
static uint32_t *expect;                /* [connection][slot]: the next number of each sender */
static uint64_t deliveries, bytes, sent, errors, disorder, lost, strange, closed, reads, pings, hist[BUCKETS];
static uint64_t lat_max, t_open, t_go, t_begin, t_end;
static char buffer[BUFFER + (1 << 20)];
static const char *token = "";          /* what stood behind the word for a ping */
static int token_len;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static void die(const char *format, ...) {
    va_list a;
    va_start(a, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, a);
    fprintf(stderr, "\n");
    exit(1);
}

static void note(uint64_t ns) {
    int top = ns < SUB ? 0 : 63 - __builtin_clzll(ns) - 4;
    int i = top * SUB / 2 + (int)(ns >> top);
    hist[i < BUCKETS ? i : BUCKETS - 1]++;
    if (ns > lat_max) lat_max = ns;
}

static double bucket_top(int i) {      /* the upper end of a bucket, in ns */
    int top = i < SUB ? 0 : (i - SUB / 2) / (SUB / 2);
    return (double)((uint64_t)(i - top * SUB / 2 + 1) << top);
}

static double percentile(double p) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) all += hist[i];
    for (int i = 0; i < BUCKETS; i++)
        if (all && (seen += hist[i]) >= (uint64_t)(p * all + 0.999999)) return bucket_top(i);
    return 0;
}

/* -- writing ---------------------------------------------------------------------------------------------------- */

static void watch(Conn *c, int op, int out) {
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.u32 = (uint32_t)(c - conns)};
    epoll_ctl(ep, op, c->fd, &e);
}

static void put(Conn *c, const char *data, size_t n) {
    ssize_t done = c->out_len ? 0 : send(c->fd, data, n, MSG_NOSIGNAL);
    if (done < 0) done = 0;
    if ((size_t)done == n) return;
    if (!c->out_len) watch(c, EPOLL_CTL_MOD, 1);
    c->out = realloc(c->out, c->out_len + n - done);
    memcpy(c->out + c->out_len, data + done, n - done);
    c->out_len += n - done;
}

static void flush_out(Conn *c) {
    ssize_t done = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (done <= 0) return;
    memmove(c->out, c->out + done, c->out_len -= done);
    if (!c->out_len) { free(c->out); c->out = NULL; watch(c, EPOLL_CTL_MOD, 0); }
}

static size_t expand(char *to, size_t room, const char *template, Conn *c) {
    char *p = to, *end = to + room - 1;
    for (const char *t = template; *t && p < end; t++) {
        if (*t != '%' || !t[1]) { *p++ = *t; continue; }
        switch (*++t) {
        case 'i': p += snprintf(p, end - p, "%d", o.offset + (int)(c - conns)); break;
        case 'r': p += snprintf(p, end - p, "%d", c->room); break;
        case 'n': p += snprintf(p, end - p, "%u", c->sent + 10); break;
        case 's': p += snprintf(p, end - p, "%llu", (unsigned long long)c->seq); break;
        case 'c': p += snprintf(p, end - p, "%s", c->cookie ? c->cookie : ""); break;
        case 'e': p += snprintf(p, end - p, "%s", c->epoch ? c->epoch : ""); break;
        case 't': p += snprintf(p, end - p, "%.*s", token_len, token); break;
        default: *p++ = *t;
        }
    }
    return p - to;
}

/* One unit in place: a line as it is, or behind the header of a masked frame. Returns its length. */
static size_t framed(char *to, const char *text, size_t n) {
    if (!o.ws) { memcpy(to, text, n); return n; }
    static const unsigned char mask[4] = {0x5a, 0xa5, 0x3c, 0xc3};
    size_t h = 2;
    to[0] = (char)0x81;
    if (n < 126) to[1] = (char)(0x80 | n);
    else { to[1] = (char)(0x80 | 126); to[2] = (char)(n >> 8); to[3] = (char)n; h = 4; }
    memcpy(to + h, mask, 4);
    for (size_t i = 0; i < n; i++) to[h + 4 + i] = (char)(text[i] ^ mask[i & 3]);
    return h + 4 + n;
}

static void say(Conn *c, const char *template) {
    char text[4096], wire[4200];
    size_t n = expand(text, sizeof text, template, c);
    put(c, wire, framed(wire, text, n));
}

static size_t message(char *to, Conn *c) {
    static const char hex[] = "0123456789abcdef";
    char text[8192];
    size_t n = expand(text, 2048, o.prefix, c);
    uint64_t t = now_ns();
    uint32_t who = (uint32_t)(c->room * o.slots + c->slot), number = c->sent++;
    text[n] = '~';
    for (int i = 0; i < 16; i++) text[n + 1 + i] = hex[t >> (60 - 4 * i) & 15];
    for (int i = 0; i < 8; i++) text[n + 17 + i] = hex[who >> (28 - 4 * i) & 15];
    for (int i = 0; i < 8; i++) text[n + 25 + i] = hex[number >> (28 - 4 * i) & 15];
    for (int i = 33; i < o.body; i++) text[n + i] = 'x';
    n += o.body > 33 ? o.body : 33;
    n += expand(text + n, 1024, o.suffix, c);
    sent++;
    return framed(to, text, n);
}

static void pump(Conn *c) {
    static char wire[512 * 1024];
    size_t n = 0;
    while (c->sent - c->echoed < (uint32_t)o.window && (!o.ack[0] || c->sent - c->acked < (uint32_t)o.window)
           && n < sizeof wire - 10000)
        n += message(wire + n, c);
    if (n) put(c, wire, n);
}

/* -- connections ------------------------------------------------------------------------------------------------ */

static void open_one(Conn *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, i = (int)(c - conns);
    if (fd < 0) die("socket: %s", strerror(errno));
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f000000u + (uint32_t)(o.source << 8) + 1 + (uint32_t)(i % o.sources));
    to.sin_port = htons((uint16_t)o.ports[i % o.nports]);
    inet_pton(AF_INET, o.host, &to.sin_addr);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (void *)&from, sizeof from)) die("bind: %s", strerror(errno));
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect: %s", strerror(errno));
    c->fd = fd;
    c->state = CONNECTING;
    opening++;
    watch(c, EPOLL_CTL_ADD, 1);
}

static void close_one(Conn *c) {
    if (c->state == CLOSED) return;
    close(c->fd);
    free(c->part); free(c->out);
    c->part = c->out = NULL;
    c->part_len = c->out_len = 0;
    c->state = CLOSED;
}

static void report_ready(void) {
    printf("{\"event\":\"%s\",\"connections\":%d,\"seconds\":%.6f}\n", resuming ? "resumed" : "ready", count,
           (now_ns() - t_open) / 1e9);
    fflush(stdout);
}

static void step(Conn *c) {            /* the answer to what was said last has come */
    if (c->state == GREETING && !resuming && o.join[0]) {
        c->state = JOINING;
        say(c, o.join);
    } else {
        c->state = READY;
        opening--;
        if (++ready == count && !(resuming && o.missed)) report_ready();
    }
}

static void greet(Conn *c) {
    c->state = GREETING;
    const char *words = resuming ? o.resume : o.hello;
    if (words[0]) say(c, words);
    if (!o.ready[0]) step(c);
}

static void connected(Conn *c) {
    watch(c, EPOLL_CTL_MOD, 0);
    if (!o.ws) { greet(c); return; }
    char request[1024];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", o.path, o.host);
    c->state = UPGRADING;
    put(c, request, (size_t)n);
}

static char *member(const char *unit, size_t n, const char *name, const char *after) {
    const char *p = after ? memmem(unit, n, after, strlen(after)) : unit;
    if (!p || !(p = memmem(p, n - (p - unit), name, strlen(name)))) return NULL;
    p += strlen(name);
    const char *end = memchr(p, '"', n - (p - unit));
    return end ? strndup(p, end - p) : NULL;
}

static void remember(Conn *c, const char *unit, size_t n) {   /* what a resume will need */
    char *found;
    if (!o.resume[0] || resuming) return;
    if ((found = member(unit, n, "\"cookie\":\"", NULL))) { free(c->cookie); c->cookie = found; }
    if ((found = member(unit, n, "\"epoch\":\"", "\"#"))) { free(c->epoch); c->epoch = found; }
    const char *p = memmem(unit, n, "\"#", 2);
    if (p && (p = memmem(p, n - (p - unit), "\"seq\":", 6))) c->seq = strtoull(p + 6, NULL, 10);
}

/* -- reading ---------------------------------------------------------------------------------------------------- */

static uint64_t hexadecimal(const char *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 4 | (uint64_t)((p[i] & 15) + (p[i] >> 6) * 9);
    return v;
}

static void delivery(Conn *c, const char *unit, const char *mark) {
    uint64_t t = hexadecimal(mark + 1, 16);
    uint32_t who = (uint32_t)hexadecimal(mark + 17, 8), number = (uint32_t)hexadecimal(mark + 25, 8);
    deliveries++;
    c->got++;
    if (running == 2) { uint64_t n = now_ns(); note(n > t ? n - t : 0); }
    if (o.seq[0]) {
        const char *p = memmem(unit, (size_t)(mark - unit), o.seq, strlen(o.seq));
        uint64_t seq = p ? strtoull(p + strlen(o.seq), NULL, 10) : 0;
        if (c->seq && seq != c->seq + 1) { if (seq > c->seq) lost += seq - c->seq - 1; else disorder++; }
        c->seq = seq;
    }
    if (resuming && o.missed && c->got == (uint64_t)o.missed && ++complete == count) report_ready();
    int room = o.slots ? (int)(who / (uint32_t)o.slots) : -1, slot = o.slots ? (int)(who % (uint32_t)o.slots) : -1;
    if (room != c->room) { if (who != 0xffffffffu) strange++; return; }
    uint32_t *next = &expect[(size_t)(c - conns) * (size_t)o.slots + (size_t)slot];
    if (number != *next) { if (number > *next) lost += number - *next; else disorder++; }
    *next = number + 1;
    Conn *sender = NULL;
    if (o.echo) { if (slot == c->slot) sender = c; }
    else {                              /* the one beside the sender sees it for the sender */
        int i = (int)(c - conns);
        if (c->room + ((slot + 1) % o.members) * o.rooms == i && slot < o.senders) sender = &conns[c->room + slot * o.rooms];
    }
    if (sender) sender->echoed++;
}

static void unit(Conn *c, const char *p, size_t n) {
    const char *mark = memrchr(p, '~', n);   /* the last: IRC has one before a user's name too */
    if (mark && (size_t)(p + n - mark) >= 33 && mark[1] == '0') {   /* no time has a first digit but 0 */
        delivery(c, p, mark);
        return;
    }
    if (o.ack[0] && memmem(p, n, o.ack, strlen(o.ack))) { c->acked++; return; }
    if (o.ping[0] && n >= strlen(o.ping) && !memcmp(p, o.ping, strlen(o.ping))) {
        pings++;
        token = p + strlen(o.ping);
        token_len = n - strlen(o.ping) < 256 ? (int)(n - strlen(o.ping)) : 256;
        say(c, o.pong);
        return;
    }
    if (o.error[0] && memmem(p, n, o.error, strlen(o.error))) {
        if (!errors++) fprintf(stderr, "load: %.*s\n", (int)(n < 300 ? n : 300), p);
        return;
    }
    if (c->state == GREETING && o.ready[0] && memmem(p, n, o.ready, strlen(o.ready))) { remember(c, p, n); step(c); }
    else if (c->state == JOINING && memmem(p, n, o.joined, strlen(o.joined))) step(c);
}

static const char *lines(Conn *c, const char *p, const char *end) {
    const char *nl;
    while (p < end && (nl = memchr(p, '\n', end - p))) { unit(c, p, nl - p); p = nl + 1; }
    return p;
}

static const char *frames(Conn *c, const char *p, const char *end) {
    if (c->state == UPGRADING) {
        const char *stop = memmem(p, end - p, "\r\n\r\n", 4);
        if (!stop) return p;
        if (!memmem(p, 16, " 101", 4)) die("no upgrade: %.*s", (int)(stop - p), p);
        p = stop + 4;
        greet(c);
    }
    while (end - p >= 2) {
        size_t n = p[1] & 127, h = 2;
        if (n == 126) { h = 4; if (end - p < 4) break; n = (size_t)(unsigned char)p[2] << 8 | (unsigned char)p[3]; }
        else if (n == 127) { h = 10; if (end - p < 10) break; n = 0; for (int i = 2; i < 10; i++) n = n << 8 | (unsigned char)p[i]; }
        if ((size_t)(end - p) < h + n) break;
        int opcode = p[0] & 15;
        if (opcode == 9 && n < 126) {   /* with what the ping carried, masked by nothing */
            char pong[6 + 125] = {(char)0x8a, (char)(0x80 | n)};
            memcpy(pong + 6, p + h, n);
            put(c, pong, 6 + n);
        }
        else if (opcode == 8) { if (!closed) fprintf(stderr, "load: closed: %.*s\n", (int)n, p + h); }
        else {                          /* one unit, or with --split one a line */
            const char *stop = p + h + n, *rest = o.split ? lines(c, p + h, stop) : p + h;
            if (rest < stop) unit(c, rest, (size_t)(stop - rest));
        }
        p += h + n;
    }
    return p;
}

static void readable(Conn *c) {
    uint32_t kept = c->part_len;
    if (kept) memcpy(buffer, c->part, kept);
    ssize_t n = recv(c->fd, buffer + kept, BUFFER, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        if (!closed++) fprintf(stderr, "load: connection %d ended: %s\n", (int)(c - conns), n ? strerror(errno) : "end of file");
        if (c->state < READY) die("a connection ended before it was ready");
        close_one(c);
        return;
    }
    reads++;
    bytes += (uint64_t)n;
    const char *end = buffer + kept + n, *rest = o.ws ? frames(c, buffer, end) : lines(c, buffer, end);
    c->part_len = (uint32_t)(end - rest);
    if (c->part_len > (1 << 20)) die("a unit of more than 1 MiB");
    if (c->part_len) { c->part = realloc(c->part, c->part_len); memcpy(c->part, rest, c->part_len); }
    else if (c->part) { free(c->part); c->part = NULL; }
    if (running && running < 3 && !o.rate) {
        if (o.echo) { if (c->slot >= 0) pump(c); }
        else if (o.senders)
            for (int k = 0; k < o.senders; k++) pump(&conns[c->room + k * o.rooms]);
    }
}

/* -- a run ------------------------------------------------------------------------------------------------------ */

static double cpu_of(int pid) {
    char name[64], line[1024];
    unsigned long u = 0, s = 0;
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *f = fopen(name, "r");
    if (!f) return 0;
    if (fgets(line, sizeof line, f)) {
        char *p = strrchr(line, ')');
        if (p) sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s);
    }
    fclose(f);
    return (double)(u + s) / sysconf(_SC_CLK_TCK);
}

static double own_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static struct { double cpu[PIDS], own; uint64_t deliveries, sent, bytes, reads, at; } begin_, end_;

static void sample(__typeof__(begin_) *s) {
    for (int i = 0; i < o.npids; i++) s->cpu[i] = cpu_of(o.pids[i]);
    s->own = own_cpu();
    s->deliveries = deliveries; s->sent = sent; s->bytes = bytes; s->reads = reads; s->at = now_ns();
}

static void go(void) {
    running = 1;
    t_go = now_ns();
    t_begin = t_go + (uint64_t)(o.warmup * 1e9);
    t_end = t_begin + (uint64_t)(o.seconds * 1e9);
    memset(hist, 0, sizeof hist);
    lat_max = 0;
    if (!o.rate)
        for (int i = 0; i < count; i++) if (conns[i].slot >= 0) pump(&conns[i]);
}

static void report_run(void) {
    uint64_t all = 0;
    for (int i = 0; i < count; i++) if (conns[i].slot >= 0) all += conns[i].sent;
    double wall = (end_.at - begin_.at) / 1e9;
    printf("{\"event\":\"run\",\"connections\":%d,\"seconds\":%.6f,\"deliveries\":%llu,\"sent\":%llu,\"bytes\":%llu,\"reads\":%llu,"
           "\"lost\":%llu,\"disorder\":%llu,\"strange\":%llu,\"errors\":%llu,\"closed\":%llu,\"sent_all\":%llu,"
           "\"deliveries_all\":%llu,\"load_cpu\":%.4f,\"cpu\":[", count, wall,
           (unsigned long long)(end_.deliveries - begin_.deliveries), (unsigned long long)(end_.sent - begin_.sent),
           (unsigned long long)(end_.bytes - begin_.bytes), (unsigned long long)(end_.reads - begin_.reads),
           (unsigned long long)lost, (unsigned long long)disorder, (unsigned long long)strange, (unsigned long long)errors,
           (unsigned long long)closed, (unsigned long long)all, (unsigned long long)deliveries, end_.own - begin_.own);
    for (int i = 0; i < o.npids; i++) printf("%s%.2f", i ? "," : "", end_.cpu[i] - begin_.cpu[i]);
    printf("],\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"histogram_us\":[",
           percentile(.5) / 1e6, percentile(.9) / 1e6, percentile(.99) / 1e6, percentile(.999) / 1e6, lat_max / 1e6);
    int first = 1;
    for (int i = 0; i < BUCKETS; i++)
        if (hist[i]) { printf("%s[%.1f,%llu]", first ? "" : ",", bucket_top(i) / 1e3, (unsigned long long)hist[i]); first = 0; }
    printf("]}\n");
    fflush(stdout);
}

static int everything_came(void) {     /* all that this process sent has reached all who should have it */
    if (!o.senders) return 0;
    for (int i = 0; i < count; i++) {
        Conn *c = &conns[i];
        for (int k = 0; c->state == READY && k < o.senders; k++)
            if ((o.echo || c->slot != k) && expect[(size_t)i * o.slots + k] != conns[c->room + k * o.rooms].sent) return 0;
    }
    return 1;
}

static void missing(void) {
    for (int i = 0; i < count && o.senders; i++)
        for (int k = 0; k < o.senders; k++)
            if (o.echo || conns[i].slot != k)
                lost += conns[conns[i].room + k * o.rooms].sent - expect[(size_t)i * o.slots + k];
}

static void clockwork(uint64_t now) {
    static uint64_t due, drained;
    static int who;
    if (running == 1 && now >= t_begin) { sample(&begin_); running = 2; }
    if (running == 2 && now >= t_end) { sample(&end_); running = 3; drained = now; due = 0; }
    if (running == 3 && (everything_came() || now - drained > (uint64_t)o.drain_ms * 1000000u)) {
        if (!o.senders || !everything_came()) missing();
        running = 0;
        report_run();
    }
    if ((running == 1 || running == 2) && o.rate && o.senders) {
        char wire[8300];
        if (!due) due = t_go;
        while (due <= now) {
            Conn *c = &conns[who % o.rooms + (who / o.rooms % o.senders) * o.rooms];
            who++;
            put(c, wire, message(wire, c));
            due += (uint64_t)(1e9 / o.rate);
        }
    }
}

static void command(char *line) {
    if (!strcmp(line, "go")) go();
    else if (!strcmp(line, "drop")) { for (int i = 0; i < count; i++) close_one(&conns[i]); printf("{\"event\":\"dropped\"}\n"); fflush(stdout); }
    else if (!strncmp(line, "resume", 6)) {
        if (line[6]) { o.nports = 0; for (char *p = strtok(line + 7, ","); p; p = strtok(NULL, ",")) o.ports[o.nports++] = atoi(p); }
        resuming = 1; ready = opening = next_open = complete = 0; t_open = now_ns();
        for (int i = 0; i < count; i++) conns[i].got = 0;
    } else if (!strcmp(line, "stats")) {
        printf("{\"event\":\"stats\",\"deliveries\":%llu,\"lost\":%llu,\"disorder\":%llu,\"errors\":%llu,\"closed\":%llu,\"pings\":%llu,\"own_cpu\":%.4f}\n",
               (unsigned long long)deliveries, (unsigned long long)lost, (unsigned long long)disorder, (unsigned long long)errors,
               (unsigned long long)closed, (unsigned long long)pings, own_cpu());
        fflush(stdout);
    } else exit(0);
}

static void standard_input(void) {
    static char text[512];
    static size_t n;
    ssize_t got = read(0, text + n, sizeof text - 1 - n);
    if (got <= 0) exit(0);
    n += (size_t)got;
    char *nl;
    while ((nl = memchr(text, '\n', n))) {
        *nl = 0;
        command(text);
        n -= (size_t)(nl + 1 - text);
        memmove(text, nl + 1, n);
    }
}

static void options(int argc, char **argv) {
    enum { S, I, D };
    struct { const char *name; int kind; void *at; } all[] = {
        {"host", S, &o.host}, {"path", S, &o.path}, {"hello", S, &o.hello}, {"ready", S, &o.ready}, {"join", S, &o.join},
        {"joined", S, &o.joined}, {"prefix", S, &o.prefix}, {"suffix", S, &o.suffix}, {"ack", S, &o.ack}, {"error", S, &o.error},
        {"ping", S, &o.ping}, {"pong", S, &o.pong}, {"seq", S, &o.seq}, {"resume", S, &o.resume}, {"ws", I, &o.ws},
        {"rooms", I, &o.rooms}, {"members", I, &o.members}, {"senders", I, &o.senders}, {"slots", I, &o.slots},
        {"window", I, &o.window}, {"body", I, &o.body}, {"ramp", I, &o.ramp}, {"sources", I, &o.sources}, {"source", I, &o.source},
        {"offset", I, &o.offset}, {"echo", I, &o.echo}, {"split", I, &o.split}, {"missed", I, &o.missed}, {"drain-ms", I, &o.drain_ms}, {"rate", D, &o.rate},
        {"warmup", D, &o.warmup}, {"seconds", D, &o.seconds}};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i] + 2;
        size_t k, n = sizeof all / sizeof *all;
        if (!strcmp(name, "ports") || !strcmp(name, "pids")) {
            int *list = name[1] == 'o' ? o.ports : o.pids, *length = name[1] == 'o' ? &o.nports : &o.npids;
            for (char *p = strtok(argv[i + 1], ","); p; p = strtok(NULL, ",")) list[(*length)++] = atoi(p);
            continue;
        }
        for (k = 0; k < n && strcmp(all[k].name, name); k++) {}
        if (k == n) die("unknown option %s", argv[i]);
        if (all[k].kind == S) *(const char **)all[k].at = argv[i + 1];
        else if (all[k].kind == I) *(int *)all[k].at = atoi(argv[i + 1]);
        else *(double *)all[k].at = atof(argv[i + 1]);
    }
    if (!o.nports) die("--ports is missing");
    if (o.slots < o.senders) o.slots = o.senders;
}

int main(int argc, char **argv) {
    options(argc, argv);
    count = o.rooms * o.members;
    conns = calloc((size_t)count, sizeof *conns);
    expect = calloc((size_t)count * (size_t)(o.slots ? o.slots : 1), sizeof *expect);
    for (int i = 0; i < count; i++) {
        conns[i].room = i % o.rooms;
        conns[i].slot = i / o.rooms < o.senders ? i / o.rooms : -1;
    }
    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event in = {.events = EPOLLIN, .data.u32 = UINT32_MAX}, events[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &in);
    t_open = now_ns();
    for (;;) {
        while (opening < o.ramp && next_open < count) open_one(&conns[next_open++]);
        int n = epoll_wait(ep, events, 512, running ? 1 : 50);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == UINT32_MAX) { standard_input(); continue; }
            Conn *c = &conns[events[i].data.u32];
            if (c->state == CLOSED) continue;
            if (events[i].events & EPOLLOUT) {
                int error = 0;
                socklen_t size = sizeof error;
                if (c->state != CONNECTING) { if (c->out_len) flush_out(c); }
                else if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) die("connect: %s", strerror(error));
                else connected(c);
            }
            if (c->state > CONNECTING && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
            if (running && !(i & 15)) clockwork(now_ns());
        }
        if (running) clockwork(now_ns());
    }
}
