/* Two network namespaces joined by a line with delay, rate, queue and loss.

   tunlink DELAY_US RATE_BYTES_PER_S QUEUE_BYTES LOSS_PPM

   The delay is one way; a rate of 0 is no limit; loss is per packet. Makes a device tun0, down and without an
   address, in each namespace, prints "ready A B" (file descriptors of this process that hold the namespaces)
   and moves packets until it is ended. The namespaces end with it and with what runs in them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (1u << 15)
#define MTU 1500
#define SECOND 1000000000ull
#define BATCH 64

struct packet { uint64_t due; int length; unsigned char bytes[MTU]; };
struct line { struct packet *slots; uint32_t first, next; uint64_t idle_at; int in, out; };
struct pace { uint64_t delay, rate, queue; uint32_t loss; };

static void must(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* Enters a new namespace, makes tun0 in it and keeps both. */
static int new_end(int *namespace)
{
    struct ifreq request = {.ifr_name = "tun0", .ifr_flags = IFF_TUN | IFF_NO_PI};
    must(unshare(CLONE_NEWNET) == 0, "unshare");
    *namespace = open("/proc/self/ns/net", O_RDONLY);
    must(*namespace >= 0, "/proc/self/ns/net");
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    must(tun >= 0, "/dev/net/tun");
    must(ioctl(tun, TUNSETIFF, &request) == 0, "TUNSETIFF");
    return tun;
}

/* Takes in what has come, and gives each packet the time at which it leaves. */
static void take(struct line *line, const struct pace *pace)
{
    for (int i = 0; i < BATCH && line->next - line->first < SLOTS; i++) {
        struct packet *packet = &line->slots[line->next % SLOTS];
        packet->length = read(line->in, packet->bytes, MTU);
        if (packet->length <= 0)
            return;
        if (pace->loss && (uint32_t)(random() % 1000000) < pace->loss)
            continue;
        uint64_t time = now();
        if (line->idle_at < time)
            line->idle_at = time;
        if (pace->rate) {
            if ((double)(line->idle_at - time) * pace->rate > (double)pace->queue * SECOND)
                continue; /* the queue is full: its tail is dropped */
            line->idle_at += packet->length * SECOND / pace->rate;
        }
        packet->due = line->idle_at + pace->delay;
        line->next++;
    }
}

/* Lets go what is due; returns when there is more to do, at the latest at `wake`. */
static uint64_t give(struct line *line, uint64_t wake)
{
    for (; line->first != line->next; line->first++) {
        struct packet *packet = &line->slots[line->first % SLOTS];
        if (packet->due > now())
            return packet->due < wake ? packet->due : wake;
        if (write(line->out, packet->bytes, packet->length) < 0)
            continue; /* the other end is down: lost, as on a real line */
    }
    return wake;
}

int main(int count, char **words)
{
    must(count == 5, "usage: tunlink DELAY_US RATE_BYTES_PER_S QUEUE_BYTES LOSS_PPM");
    struct pace pace = {atoll(words[1]) * 1000ull, atoll(words[2]), atoll(words[3]), atoi(words[4])};
    int namespaces[2], a = new_end(&namespaces[0]), b = new_end(&namespaces[1]);
    struct line lines[2] = {{.in = a, .out = b}, {.in = b, .out = a}};
    for (int i = 0; i < 2; i++)
        must((lines[i].slots = malloc(SLOTS * sizeof(struct packet))) != NULL, "malloc");
    prctl(PR_SET_TIMERSLACK, 1000);
    printf("ready %d %d\n", namespaces[0], namespaces[1]);
    fflush(stdout);
    for (;;) {
        uint64_t wake = give(&lines[1], give(&lines[0], now() + SECOND / 50)), time = now();
        struct timespec pause = {0, wake > time ? wake - time : 0};
        struct pollfd ends[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
        ppoll(ends, 2, &pause, NULL);
        take(&lines[0], &pace);
        take(&lines[1], &pace);
    }
}
