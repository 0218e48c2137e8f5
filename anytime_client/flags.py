"""Settings of a command."""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class Flags(BaseSettings):
    """From the command line alone: RATE in the environment may be anybody's, and `--json` would be JSON there."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)
