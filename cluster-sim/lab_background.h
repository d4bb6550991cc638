/* The background process of a cluster: owns the switch, the gateway with its forwards, the management ports and the control socket.
 *
 * `eidolon start` starts it; the hidden subcommand `switch` is it. It never starts or ends a node: nodes live in their own processes
 * and outlive it; a new one finds their sockets again and takes forwards and cuts from DIR/network. One event loop, no threads.
 *
 * Control socket (lab_control.h is the other side): requests of one line, answered by lines and a last `ok` or `error NAME sentence`;
 * at most LAB_CLIENTS_MAX clients, one request of each at a time.
 *   ping                          are you there
 *   info                          `switch …`, `node N net 0|1 …`, `forward …`, `cut …`, `isolated …`, `capture …` lines
 *   forward TARGET PORT HOSTPORT  open 127.0.0.1:HOSTPORT (0: any) to PORT of the world (TARGET 0) or a node: `port P`
 *   cut FROM TO | isolate N | heal      cables; 0 is the gateway
 *   capture PATH | capture-stop
 *   manage N MS LINE              pass LINE to node N's management port, answer within MS
 *   raw N MS HEX                  send any bytes there; answered when the port has answered a ping after them
 *   quit */
#ifndef EIDOLON_LAB_BACKGROUND_H
#define EIDOLON_LAB_BACKGROUND_H

#include "cluster-sim/lab_capture.h"
#include "cluster-sim/lab_cluster.h"
#include "cluster-sim/lab_gateway.h"
#include "cluster-sim/lab_management.h"
#include "cluster-sim/lab_switch.h"

struct control_client {
    int descriptor;              /* -1: free */
    int poll_index;
    uint64_t ticket;             /* of the management request it waits for; 0: none */
    uint64_t heard_ms;
    char input[LAB_CONTROL_LINE_BYTES_MAX];
    size_t input_bytes;
    char output[LAB_CONTROL_ANSWER_BYTES_MAX + 256];
    size_t output_bytes;
    bool ending;                 /* close when the output is written */
};

struct background {
    struct cluster cluster;
    struct ethernet_switch ethernet;
    struct gateway gateway;
    struct capture capture;
    struct management_link links[LAB_NODES_MAX];
    struct control_client clients[LAB_CLIENTS_MAX];
    uint64_t last_ticket;
    uint64_t node_attempt_ms[LAB_NODES_MAX];
    int control;                 /* listening sockets */
    int taps;
    int control_poll_index;
    int taps_poll_index;
    bool quit;
};

/* Be the background process of the cluster in `directory` until told to quit. */
enum outcome background_run(const char *directory);

/* DIR/network: forwards and cuts. Load takes over what is in it, as far as it is possible now. */
void background_save_network(struct background *background);
void background_load_network(struct background *background);

/* The control clients' part of each round. */
void control_server_init(struct background *background);
/* Take a client if there is room for one; otherwise it waits in line. */
bool control_server_has_room(struct background *background);
void control_server_accept(struct background *background);
void control_server_fill(struct background *background, struct poll_set *set);
void control_server_serve(struct background *background, const struct poll_set *set);
/* A management request that a client waits for is over (struct management_link's `done`; `context` is the background). */
void control_server_answer(void *context, unsigned node, uint64_t ticket, enum status status, const char *answer);

#endif
