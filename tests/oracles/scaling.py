"""A run of equal tasks, moment by moment: who has what, and for how much longer."""

from __future__ import annotations


def moments_of_a_run(n_tasks, n_workers, task, scheduler, client):
    """Return when the last task ends; durations are whole moments, one or more."""
    left, moment, done = n_tasks, 0, 0
    held = [0] * n_workers
    busy = [0] * n_workers
    at_scheduler, at_client = [*range(n_workers), *range(n_workers)], []
    scheduler_busy = client_busy = 0
    while done < n_tasks:
        for worker in range(n_workers):
            if not busy[worker] and held[worker]:
                held[worker] -= 1
                busy[worker] = task
        if not scheduler_busy and at_scheduler:
            scheduler_busy = scheduler
        if not client_busy and at_client:
            client_busy = client
        moment += 1
        if client_busy:
            client_busy -= 1
            if not client_busy:
                worker = at_client.pop(0)
                if left:
                    held[worker] += 1
                    left -= 1
        if scheduler_busy:
            scheduler_busy -= 1
            if not scheduler_busy:
                at_client.append(at_scheduler.pop(0))
        for worker in range(n_workers):
            if busy[worker]:
                busy[worker] -= 1
                if not busy[worker]:
                    done += 1
                    at_scheduler.append(worker)
    return moment
