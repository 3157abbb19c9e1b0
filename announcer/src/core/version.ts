/** Version of the announcer, as its package has it. */
export const announcerVersion = '0.1.0';
