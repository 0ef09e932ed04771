/* What a client costs at least: a file by sendfile(2), or by SSL_write.
 *
 *   send PORT BEFORE FILE AFTER [tls]
 *
 * Sends the bytes of three files, the second without copying it, and waits for
 * an answer that begins "HTTP/1.1 200".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
#endif

#define CHUNK (16 << 20)
#define BUFFER (256 << 10)

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    int sock = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((unsigned short)atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(sock, (void *)&to, sizeof to))
        return 1;
    char answer[4096] = {0};
    if (argc > 5) {
#ifdef TLS
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        SSL *tls = SSL_new(context);
        char *buffer = aligned_alloc(4096, BUFFER);
        SSL_set_fd(tls, sock);
        if (SSL_connect(tls) <= 0)
            return 1;
        for (int i = 2; i < 5; i++) {
            int fd = open(argv[i], O_RDONLY);
            ssize_t n;
            while ((n = read(fd, buffer, BUFFER)) > 0)
                if (SSL_write(tls, buffer, (int)n) <= 0)
                    return 1;
            close(fd);
        }
        if (SSL_read(tls, answer, sizeof answer - 1) <= 0)
            return 1;
#else
        return 2;
#endif
    } else {
        for (int i = 2; i < 5; i++) {
            int fd = open(argv[i], O_RDONLY);
            struct stat status;
            if (fd < 0 || fstat(fd, &status))
                return 1;
            for (off_t left = status.st_size; left > 0;) {
                ssize_t n = sendfile(sock, fd, NULL, left < CHUNK ? left : CHUNK);
                if (n <= 0)
                    return 1;
                left -= n;
            }
            close(fd);
        }
        if (recv(sock, answer, sizeof answer - 1, 0) <= 0)
            return 1;
    }
    return strncmp(answer, "HTTP/1.1 200", 12) != 0;
}
