// Loaded into an aarch64 program that runs under qemu-user: when it starts itself anew, as the gateway does to compile a plugin, the new process
// runs under qemu too. A kernel with binfmt_misc does this by itself; registering that is for root, and for the whole machine.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 30, PATH_BYTES_MAX = 4096 }; // the hidden verb has four

typedef int spawn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);

// What std::process::Command calls.
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
                 char *const argv[], char *const envp[]) {
    spawn *next = (spawn *)dlsym(RTLD_NEXT, "posix_spawnp");
    char self[PATH_BYTES_MAX] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0 || strcmp(self, file) != 0)
        return next(pid, file, actions, attributes, argv, envp);
    // the libraries and the processor by options, because the environment may be an empty one
    char *cpu = getenv("QEMU_CPU");
    char *under_qemu[6 + ARGUMENTS_MAX + 1] = {"qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu ? cpu : "max", self};
    for (int n = 1; argv[n]; n++) {
        if (n > ARGUMENTS_MAX) return E2BIG;
        under_qemu[5 + n] = argv[n];
    }
    return next(pid, under_qemu[0], actions, attributes, under_qemu, envp);
}
