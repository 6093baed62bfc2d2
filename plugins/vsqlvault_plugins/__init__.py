"""The plugins that come with vsqlvault: ordinary ones, reached through the same entry points as anyone's."""
