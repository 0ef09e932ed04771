/* An HTTP/1.1 server that throws content away, as cheaply as can be.
 *
 *   sink [CERTIFICATE KEY]
 *
 * Prints its port on 127.0.0.1 and serves each connection in a thread until it
 * is killed. Knows Content-Length, keep-alive and Expect; nothing else. With
 * arguments it speaks TLS (build with -DTLS and -lssl -lcrypto).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
static SSL_CTX *context;
#endif

#define BUFFER (1 << 20)

struct peer {
    int fd;
    void *tls;
};

static ssize_t get(struct peer *p, char *into, size_t size, int discard)
{
#ifdef TLS
    if (p->tls)
        return SSL_read(p->tls, into, size > BUFFER ? BUFFER : (int)size);
#endif
    /* MSG_TRUNC: TCP drops the bytes without copying them. */
    return recv(p->fd, into, size, discard ? MSG_TRUNC : 0);
}

static int put(struct peer *p, const char *text)
{
#ifdef TLS
    if (p->tls)
        return SSL_write(p->tls, text, (int)strlen(text)) > 0;
#endif
    return send(p->fd, text, strlen(text), MSG_NOSIGNAL) > 0;
}

static const char *field(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, n) && line[n] == ':')
            return line + n + 1;
    }
    return NULL;
}

static void *serve(void *argument)
{
    struct peer peer = {(int)(long)argument, NULL};
    char *buffer = aligned_alloc(4096, BUFFER + 4096);
#ifdef TLS
    if (context) {
        peer.tls = SSL_new(context);
        SSL_set_fd(peer.tls, peer.fd);
        if (SSL_accept(peer.tls) <= 0)
            goto done;
    }
#endif
    size_t have = 0;
    for (;;) {
        char *end;
        buffer[have] = 0;
        while (!(end = memmem(buffer, have, "\r\n\r\n", 4))) {
            if (have > 65536)
                goto done;
            ssize_t n = get(&peer, buffer + have, 65536, 0);
            if (n <= 0)
                goto done;
            have += (size_t)n;
            buffer[have] = 0;
        }
        end[2] = 0;
        const char *said = field(buffer, "content-length");
        long long left = said ? atoll(said) : 0;
        if (field(buffer, "expect") && !put(&peer, "HTTP/1.1 100 Continue\r\n\r\n"))
            goto done;
        size_t head = (size_t)(end - buffer) + 4, rest = have - head;
        if ((long long)rest > left) {
            memmove(buffer, buffer + head + left, rest - (size_t)left);
            have = rest - (size_t)left;
            left = 0;
        } else {
            left -= (long long)rest;
            have = 0;
        }
        while (left > 0) {
            size_t want = left < BUFFER ? (size_t)left : BUFFER;
            ssize_t n = get(&peer, buffer, want, 1);
            if (n <= 0)
                goto done;
            left -= n;
        }
        if (!put(&peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
            goto done;
    }
done:
#ifdef TLS
    if (peer.tls)
        SSL_free(peer.tls);
#endif
    close(peer.fd);
    free(buffer);
    return NULL;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
#ifdef TLS
    if (argc > 2) {
        context = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_chain_file(context, argv[1]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1)
            return 1;
    }
#else
    (void)argv;
    if (argc > 1)
        return 1;
#endif
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&at, size) || listen(listener, 128) ||
        getsockname(listener, (void *)&at, &size))
        return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd))
            close(fd);
        else
            pthread_detach(thread);
    }
}
