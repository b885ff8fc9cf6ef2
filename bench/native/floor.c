/* floor: the least that a chat server can do. Every line that comes is sent to everybody in the room, in C, with one
 * `send` a line (--join 0) or one for all lines of a read (--join 1). No store, no names, no memory.
 * The first line of a connection is its room's number; the answer is "ok". Prints its port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { MOST = 65536 };
typedef struct { int room; } Conn;
typedef struct { int *fds, count, space; } Room;
static Conn conns[MOST];
static Room rooms[MOST];
static char buffer[1 << 20];

static void enter(int fd, int number) {
    Room *r = &rooms[number];
    if (r->count == r->space) r->fds = realloc(r->fds, sizeof(int) * (size_t)(r->space = r->space ? r->space * 2 : 16));
    r->fds[r->count++] = fd;
    conns[fd].room = number;
    send(fd, "ok\n", 3, MSG_NOSIGNAL);
}

static void leave(int fd) {
    Room *r = &rooms[conns[fd].room];
    for (int i = 0; i < r->count; i++) if (r->fds[i] == fd) { r->fds[i] = r->fds[--r->count]; break; }
    close(fd);
}

static void spread(const Room *r, const char *data, size_t n) {
    for (int i = 0; i < r->count; i++)
        if (send(r->fds[i], data, n, MSG_NOSIGNAL) != (ssize_t)n) fprintf(stderr, "floor: a reader is too slow\n");
}

int main(int argc, char **argv) {
    int join = argc > 2 && atoi(argv[2]), one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return 1;
    getsockname(listener, (void *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    conns[fd].room = -1;
                    e.data.fd = fd;
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0) { leave(fd); continue; }
            if (conns[fd].room < 0) { enter(fd, atoi(buffer)); continue; }
            Room *r = &rooms[conns[fd].room];
            if (join) { spread(r, buffer, (size_t)got); continue; }
            for (char *p = buffer, *nl; p < buffer + got && (nl = memchr(p, '\n', (size_t)(buffer + got - p))); p = nl + 1)
                spread(r, p, (size_t)(nl + 1 - p));
        }
    }
}
