/*
 * Reports events that the kernel could not hand over (its ring was full) as events.lost in the
 * audit, with the reason "kernel".
 */
#pragma once

struct ig_agent;
struct ig_kernel_loss;

/* Asks the monitor for the kernel's counter every few seconds, first of all now. The agent's base,
 * link and audit have to be there. */
int ig_kernel_loss_new(struct ig_agent *agent, struct ig_kernel_loss **ret);
struct ig_kernel_loss *ig_kernel_loss_free(struct ig_kernel_loss *loss);
